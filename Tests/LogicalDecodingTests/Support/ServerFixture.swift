/// What PostgreSQL 15's pg_recvlogical wrote, with include-timestamp, for a schema made to be nasty; only two long
/// texts were shortened, and two bytes of a binary message made printable.
enum ServerFixture {
  /// The file, as it was written.
  static let recvlogical = #"""
    BEGIN 748
    table "S.x"."T "":[x], 'q' 🐘.y": INSERT: id[integer]:1 "Order"[text]:'it''s \'' new-tuple: a[b]:''x'' 
     line2 ' "a]b:c[d"["S.x"."we]ird"]:'x]:''y' "arr""q"["S.x"."we]ird"[]]:'{"a b",it''s}' "select"[character]:'ab   ' "new-tuple: "[character varying]:'' "old-key:"[numeric]:1.5000
    COMMIT 748 (at 2026-11-23 05:03:23.86362+00)
    BEGIN 749
    table "S.x"."T "":[x], 'q' 🐘.y": UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 "Order"[text]:'it''s \'' new-tuple: a[b]:''x'' 
     line2 ' "a]b:c[d"["S.x"."we]ird"]:'x]:''y' "arr""q"["S.x"."we]ird"[]]:'{"a b",it''s}' "select"[character]:'ab   ' "new-tuple: "[character varying]:'' "old-key:"[numeric]:1.5000
    COMMIT 749 (at 2026-11-23 05:03:23.864581+00)
    BEGIN 750
    table "S.x"."T "":[x], 'q' 🐘.y": UPDATE: id[integer]:2 "Order"[text]:'null' "a]b:c[d"["S.x"."we]ird"]:'x]:''y' "arr""q"["S.x"."we]ird"[]]:'{"a b",it''s}' "select"[character]:'ab   ' "new-tuple: "[character varying]:'' "old-key:"[numeric]:1.5000
    COMMIT 750 (at 2026-11-23 05:03:23.86503+00)
    BEGIN 751
    table "S.x"."T "":[x], 'q' 🐘.y": DELETE: id[integer]:2
    COMMIT 751 (at 2026-11-23 05:03:23.865378+00)
    BEGIN 752
    table public.types: INSERT: i2[smallint]:-1 i4[integer]:2 i8[bigint]:-3 o[oid]:4 f4[real]:1.1 f8[double precision]:1e+20 n[numeric]:NaN b[boolean]:true bt[bit]:B'101' vb[bit varying]:B'1' bt0[bit varying]:B'' ts[timestamp without time zone]:'2024-01-01 00:00:00.123' tz[timestamp with time zone]:'2024-01-01 00:00:00.123456+00' iv[interval]:'1 day 02:03:04.5' c["char"]:'c' by[bytea]:'\xdeadbeef' j[json]:'{"a": "it''s"}' jb[jsonb]:'{"a": 1}' m[money]:'$12.50' di[public.dom_int]:'7' dt[public.dom_text]:'d''t' cp[public.comp]:'(1,a''b)' ia[integer[]]:'{1,NULL,3}' ta[text[]]:'{"a\"b",NULL,"c\\d"}' nn[name]:'nm' x[xml]:'<a/>' r[int4range]:'[1,5)' pt[point]:'(1,2)' xi[xid]:'5' ls[pg_lsn]:'0/1'
    COMMIT 752 (at 2026-11-23 05:03:23.866378+00)
    BEGIN 753
    table public.types: INSERT: i2[smallint]:null i4[integer]:null i8[bigint]:null o[oid]:null f4[real]:Infinity f8[double precision]:-Infinity n[numeric]:-12345.67890 b[boolean]:false bt[bit]:null vb[bit varying]:null bt0[bit varying]:null ts[timestamp without time zone]:null tz[timestamp with time zone]:null iv[interval]:null c["char"]:null by[bytea]:null j[json]:null jb[jsonb]:null m[money]:null di[public.dom_int]:null dt[public.dom_text]:null cp[public.comp]:null ia[integer[]]:null ta[text[]]:null nn[name]:null x[xml]:null r[int4range]:null pt[point]:null xi[xid]:null ls[pg_lsn]:null
    COMMIT 753 (at 2026-11-23 05:03:23.866754+00)
    BEGIN 754
    table public.types: INSERT: i2[smallint]:null i4[integer]:null i8[bigint]:null o[oid]:null f4[real]:NaN f8[double precision]:1e-300 n[numeric]:0.00000 b[boolean]:null bt[bit]:null vb[bit varying]:null bt0[bit varying]:null ts[timestamp without time zone]:null tz[timestamp with time zone]:null iv[interval]:null c["char"]:'' by[bytea]:null j[json]:null jb[jsonb]:null m[money]:null di[public.dom_int]:null dt[public.dom_text]:null cp[public.comp]:null ia[integer[]]:null ta[text[]]:null nn[name]:null x[xml]:null r[int4range]:null pt[point]:null xi[xid]:null ls[pg_lsn]:null
    COMMIT 754 (at 2026-11-23 05:03:23.867121+00)
    BEGIN 755
    table public.types: INSERT: i2[smallint]:null i4[integer]:null i8[bigint]:null o[oid]:null f4[real]:3.4e+38 f8[double precision]:0 n[numeric]:null b[boolean]:null bt[bit]:null vb[bit varying]:null bt0[bit varying]:null ts[timestamp without time zone]:null tz[timestamp with time zone]:null iv[interval]:null c["char"]:null by[bytea]:null j[json]:null jb[jsonb]:null m[money]:null di[public.dom_int]:null dt[public.dom_text]:null cp[public.comp]:null ia[integer[]]:null ta[text[]]:null nn[name]:null x[xml]:null r[int4range]:null pt[point]:null xi[xid]:null ls[pg_lsn]:null
    COMMIT 755 (at 2026-11-23 05:03:23.86756+00)
    BEGIN 756
    table public.z: INSERT:
    COMMIT 756 (at 2026-11-23 05:03:23.868027+00)
    BEGIN 757
    table public.nopk: INSERT: a[integer]:1 b[text]:'x'
    COMMIT 757 (at 2026-11-23 05:03:23.86843+00)
    BEGIN 758
    table public.nopk: UPDATE: a[integer]:2 b[text]:'x'
    COMMIT 758 (at 2026-11-23 05:03:23.868804+00)
    BEGIN 759
    table public.nopk: DELETE: (no-tuple-data)
    COMMIT 759 (at 2026-11-23 05:03:23.86911+00)
    BEGIN 760
    table public.ful: INSERT: a[integer]:1 b[text]:null
    table public.ful: INSERT: a[integer]:null b[text]:null
    COMMIT 760 (at 2026-11-23 05:03:23.869507+00)
    BEGIN 761
    table public.ful: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:1 b[text]:'y'
    COMMIT 761 (at 2026-11-23 05:03:23.86989+00)
    BEGIN 762
    table public.ful: UPDATE: old-key: new-tuple: a[integer]:3 b[text]:null
    COMMIT 762 (at 2026-11-23 05:03:23.870241+00)
    BEGIN 763
    table public.ful: DELETE: a[integer]:1 b[text]:'y'
    table public.ful: DELETE: a[integer]:3
    COMMIT 763 (at 2026-11-23 05:03:23.870561+00)
    BEGIN 764
    table public.ful: INSERT: a[integer]:null b[text]:null
    COMMIT 764 (at 2026-11-23 05:03:23.870874+00)
    BEGIN 765
    table public.ful: DELETE:
    COMMIT 765 (at 2026-11-23 05:03:23.871147+00)
    BEGIN 766
    table public.ful: INSERT: a[integer]:null b[text]:null
    COMMIT 766 (at 2026-11-23 05:03:23.871519+00)
    BEGIN 767
    table public.ful: UPDATE: old-key: new-tuple: a[integer]:null b[text]:null
    COMMIT 767 (at 2026-11-23 05:03:23.872003+00)
    BEGIN 768
    table public.uix: INSERT: a[integer]:1 b[text]:'k' c[text]:'c'
    COMMIT 768 (at 2026-11-23 05:03:23.872603+00)
    BEGIN 769
    table public.uix: UPDATE: a[integer]:1 b[text]:'k' c[text]:'d'
    COMMIT 769 (at 2026-11-23 05:03:23.872977+00)
    BEGIN 770
    table public.uix: UPDATE: old-key: a[integer]:1 b[text]:'k' new-tuple: a[integer]:1 b[text]:'k''2' c[text]:'d'
    COMMIT 770 (at 2026-11-23 05:03:23.873299+00)
    BEGIN 771
    table public.uix: DELETE: a[integer]:1 b[text]:'k''2'
    COMMIT 771 (at 2026-11-23 05:03:23.873622+00)
    BEGIN 772
    table public.pk: INSERT: a[integer]:1 b[text]:null g[integer]:2
    COMMIT 772 (at 2026-11-23 05:03:23.874088+00)
    BEGIN 773
    table public.pk: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:5 b[text]:null g[integer]:10
    COMMIT 773 (at 2026-11-23 05:03:23.874406+00)
    BEGIN 774
    table public.pk: DELETE: a[integer]:5
    COMMIT 774 (at 2026-11-23 05:03:23.874672+00)
    BEGIN 775
    table public.toast: INSERT: a[integer]:1 big[text]:'c4ca4238a0b923820dcc509a6f75849b' small[text]:'s'
    COMMIT 775 (at 2026-11-23 05:03:23.876286+00)
    BEGIN 776
    table public.toast: UPDATE: a[integer]:1 big[text]:unchanged-toast-datum small[text]:'t'
    COMMIT 776 (at 2026-11-23 05:03:23.876728+00)
    BEGIN 777
    table public.toast: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:2 big[text]:unchanged-toast-datum small[text]:'t'
    COMMIT 777 (at 2026-11-23 05:03:23.877011+00)
    BEGIN 778
    table public.toastf: INSERT: a[integer]:1 big[text]:'c4ca4238a0b923820dcc509a6f75849b' small[text]:'s'
    COMMIT 778 (at 2026-11-23 05:03:23.877862+00)
    BEGIN 779
    table public.toastf: UPDATE: old-key: a[integer]:1 big[text]:'c4ca4238a0b923820dcc509a6f75849b' small[text]:'s' new-tuple: a[integer]:1 big[text]:unchanged-toast-datum small[text]:'t'
    COMMIT 779 (at 2026-11-23 05:03:23.878262+00)
    BEGIN 780
    table public.toastf: DELETE: a[integer]:1 big[text]:'c4ca4238a0b923820dcc509a6f75849b' small[text]:'t'
    COMMIT 780 (at 2026-11-23 05:03:23.878601+00)
    BEGIN 781
    table public.part1: INSERT: a[integer]:1
    COMMIT 781 (at 2026-11-23 05:03:23.879092+00)
    BEGIN 782
    table public.t1, public.t2: TRUNCATE: (no-flags)
    COMMIT 782 (at 2026-11-23 05:03:23.880208+00)
    BEGIN 783
    table public.t1, public.t2: TRUNCATE: cascade
    COMMIT 783 (at 2026-11-23 05:03:23.881805+00)
    BEGIN 784
    table public.t1, public.t2: TRUNCATE: restart_seqs
    COMMIT 784 (at 2026-11-23 05:03:23.883462+00)
    BEGIN 785
    table public.t1, public.t2: TRUNCATE: restart_seqs cascade
    COMMIT 785 (at 2026-11-23 05:03:23.885069+00)
    BEGIN 786
    table public.pk: TRUNCATE: (no-flags)
    COMMIT 786 (at 2026-11-23 05:03:23.887136+00)
    message: transactional: 0 prefix: nl
    '", sz: 3 content:a
    b
    BEGIN 787
    table public.pk: INSERT: a[integer]:9 b[text]:'multi
    line' g[integer]:18
    message: transactional: 1 prefix: p, sz: 3 content:, sz: 16 content:, sz: 0 content:
    message: transactional: 1 prefix: bin, sz: 4 content:~
    '
    message: transactional: 1 prefix: , sz: 0 content:
    COMMIT 787 (at 2026-11-23 05:03:23.889266+00)
    BEGIN 788
    table public.pk: INSERT: a[integer]:10 b[text]:null g[integer]:20
    COMMIT 788 (at 2026-11-23 05:03:23.890233+00)
    BEGIN 790
    table public.pk: INSERT: a[integer]:11 b[text]:null g[integer]:22
    COMMIT 790 (at 2026-11-23 05:03:23.892045+00)

    """#

  /// stream-changes, with and without include-xids; from `pg_logical_slot_peek_changes`.
  static let streamed = [
    "opening a streamed block for transaction TXN 792",
    "streaming change for TXN 792",
    "streaming truncate for TXN 792",
    "streaming message: transactional: 1 prefix: strm, sz: 7",
    "closing a streamed block for transaction TXN 792",
    "aborting streamed (sub)transaction TXN 794",
    "committing streamed transaction TXN 792 (at 2026-11-23 05:03:23.99838+00)",
    #"preparing streamed transaction TXN E'st''r\\m', txid 793 (at 2026-11-23 05:03:24.007202+00)"#,
    "opening a streamed block for transaction",
    "streaming change for transaction",
    "streaming truncate for transaction",
    "closing a streamed block for transaction",
    "aborting streamed (sub)transaction",
    "committing streamed transaction",
    #"preparing streamed transaction E'st''r\\m'"#,
  ]

  /// A slot made with TWO_PHASE.
  static let prepared = [
    "PREPARE TRANSACTION 'gid''x', txid 788 (at 2026-11-23 05:03:23.889897+00)",
    "COMMIT PREPARED 'gid''x', txid 788 (at 2026-11-23 05:03:23.890233+00)",
    #"PREPARE TRANSACTION E'gid\\b''y', txid 789 (at 2026-11-23 05:03:23.890842+00)"#,
    #"ROLLBACK PREPARED E'gid\\b''y', txid 789 (at 2026-11-23 05:03:23.891139+00)"#,
  ]

  /// With quote_all_identifiers, type names too.
  static let allQuoted = #"table "public"."nopk": UPDATE: "a"[integer]:2 "b"["text"]:'x'"#
}
