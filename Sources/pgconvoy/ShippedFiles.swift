// Written by scripts/embed-shipped-files; edit inventory/example.yml and playbooks/*.yml instead.

/// The files that `pgconvoy init` hands out.
enum ShippedFiles {
  static let all: [(path: String, text: String)] = [
    (
      "inventory.yml",
      #"""
      # An inventory: which servers there are, and what moves from where to where.
      # Try it:  pgconvoy inventory list -i inventory/example.yml
      # Every key, with its type and default, is in docs/reference/inventory.md.

      # What all hosts and migrations share. A host or a migration that says something else wins.
      defaults:
        ssh: { user: root, identity_file: ~/.ssh/id_ed25519, known_hosts: ~/.ssh/known_hosts }
        postgres: { port: 5432, user: postgres, os_user: postgres }

      # The machines. The address is where SSH and PostgreSQL are reached from here.
      # No password stands here: libpq finds it in ~/.pgpass, or name a source of your own
      # (passfile, password_command or password_env, under postgres).
      hosts:
        chef-old: { address: 10.0.1.10 }
        chef-new:
          address: 10.0.1.20
          postgres:
            data_directory: /var/lib/postgresql/15/main # on chef-new; the copy replaces what is in it
            bin_directory: /usr/lib/postgresql/15/bin

      # What moves. The source goes on serving its applications until the cutover.
      migrations:
        chef-eu:
          source: chef-old
          target: chef-new
          databases: all # or a list of names and patterns, [opscode_chef, "bifrost*"]; 'except' takes names out
          # The applications that use the databases, never PostgreSQL itself: stopped in this order for the cutover,
          # started in the reverse.
          services:
            - { name: opscode-erchef, manager: runit }
            - { name: nginx, manager: systemd, on: [source] } # runs on the source only
          # Must print the same on both hosts before anything is copied.
          version_check: "cat /opt/opscode/version-manifest.txt | head -1"

      # Names for several migrations at once: pgconvoy play playbooks/migrate.yml --limit eu
      groups:
        eu: [chef-eu]

      """#
    ),
    (
      "playbooks/cutover.yml",
      #"""
      # Moves the applications to the target: all databases or none. When a step fails before the target is open, the
      # steps before it are undone, and the source serves as before. Afterwards every change goes back to the old source, so
      # that playbooks/rollback.yml can return to it.
      - name: cutover
        on_failure: undo
        steps:
          - wait_for_lag # every database below the thresholds, and no drift
          - analyze # fresh statistics for what the stream changed much, while applications still write
          - stop_services: { on: source }
          - fence: { on: source } # no writer gets into the source any more, superusers included
          - drain # every worker applies its database's marker
          - copy_sequences # and what else logical decoding does not carry
          - copy_large_objects
          - copy_unlogged_tables # where cutover.copy_unlogged says so
          - refresh_materialized_views
          - verify # rows and checksums of every table
          - confirm_fence # a second marker: nothing was written since the first
          - close_forward # the workers end
          - open_way_back # and others stream from the target to the old source, before any writer gets in
          - open_target # the point of no return: the quarantine is lifted
          - start_services: { on: target }
          - report

      """#
    ),
    (
      "playbooks/finish.yml",
      #"""
      # Ends a migration for good and removes what it has put on both servers: slots, replication origins, fences, files. The
      # side that serves applications goes on serving: after a cutover the target; the source when there was none, or a
      # rollback, and then the target gets its old data directory back.
      #   old_data: remove     deletes the target's former data directory as well (or the copy that is given up)
      # Where the old server is gone already, take its clean_up out and write: finish: { gone: source }
      - name: finish
        steps:
          - stop_sync # no worker in either direction; from here on there is no way back
          - clean_up: { on: source } # after a cutover this lifts the old server's fence
          - clean_up: { on: target, old_data: keep }
          - finish # nothing of ours is left on either side

      """#
    ),
    (
      "playbooks/migrate.yml",
      #"""
      # Copies the source's server to the target and keeps the copy up to date while applications go on writing.
      # Nothing changes for the applications. Safe to run again: finished steps are passed over.
      #   pgconvoy play playbooks/migrate.yml -i INVENTORY --check     what it would do
      - name: migrate
        steps:
          - preflight # everything that would fail or lose data later; changes nothing
          - base_backup # a physical copy, next to the target's old data directory
          - start_standby # the copy takes its place, quarantined, and catches up
          - hand_off # logical slots, restore point L, promotion at L exactly
          - start_sync # one worker per database, from L on

      """#
    ),
    (
      "playbooks/prepare.yml",
      #"""
      # Prepares sources for a migration: pgconvoy's role, settings, the target's entry in pg_hba.conf, and an identity for
      # tables that have none. A source is restarted only where its migration says 'allow_restart: [source]'; otherwise the play stops, and goes
      # on when it is run again after a restart of yours. What was changed is recorded, and can be taken back.
      #   pgconvoy play playbooks/prepare.yml -i INVENTORY --check --diff     what it would do
      - name: prepare
        serial: 1
        steps:
          - prepare_source
          - set_replica_identity # leave it out where tables without a key are never updated or deleted from

      """#
    ),
    (
      "playbooks/quiesced-migrate.yml",
      #"""
      # As migrate.yml, for sources whose long transactions never let a logical slot be made: the source's services are
      # stopped while the slots are made, for some seconds. The base backup still runs with the services up.

      # The receiving side. Services that run on the target stop before its server is replaced; the cutover starts them.
      - name: copy
        steps:
          - preflight
          - base_backup
          - stop_services: { on: target }
            when: state != cut_over # behind a cutover they serve
          - start_standby

      # The sending side. A play of its own: when the hand-off fails, the services are started again, and the copy stays for
      # the next try.
      - name: hand off, quiesced
        on_failure: undo
        steps:
          - stop_services: { on: source }
          - hand_off
          - start_services: { on: source }
            when: state != cut_over

      - name: keep up
        steps:
          - start_sync

      """#
    ),
    (
      "playbooks/rollback.yml",
      #"""
      # Moves the applications back to the old source, with everything that was written on the target: all databases or none.
      # The same steps as the cutover's, in the other direction. When a step fails before the source is open, the steps before
      # it are undone, and the target serves as before. Afterwards every change goes to the target again, so that
      # playbooks/cutover.yml can be played once more.
      - name: rollback
        on_failure: undo
        steps:
          - wait_for_lag: { direction: reverse }
          - analyze: { direction: reverse }
          - stop_services: { on: target }
          - fence: { on: target }
          - drain: { direction: reverse }
          - copy_sequences: { direction: reverse }
          - copy_large_objects: { direction: reverse }
          - copy_unlogged_tables: { direction: reverse }
          - refresh_materialized_views: { direction: reverse }
          - verify: { direction: reverse }
          - confirm_fence: { direction: reverse }
          - close_reverse
          - open_way_forward
          - open_source # the point of no return: the source's fence is lifted, the target's stays
          - start_services: { on: source }
          - report: { direction: reverse }

      """#
    ),
    (
      "playbooks/unfence.yml",
      #"""
      # Lifts the fence of a cutover or rollback that was interrupted, and starts the services that it had stopped. The fence is
      # recorded on the server itself: this works from another machine too, where it lifts the source's. Refuses when the other
      # side is open.
      - name: lift the fence
        steps:
          - unfence
          - start_services

      """#
    ),
  ]
}
