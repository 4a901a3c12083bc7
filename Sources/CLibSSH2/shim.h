#ifndef PGCONVOY_CLIBSSH2_SHIM_H
#define PGCONVOY_CLIBSSH2_SHIM_H

#include <libssh2.h>
#include <spawn.h>

/* libssh2_session_callback_set takes a void pointer, which a Swift function cannot be turned into. */
static inline void convoy_ssh_set_transport(LIBSSH2_SESSION *session, LIBSSH2_SEND_FUNC((*send_function)),
                                            LIBSSH2_RECV_FUNC((*receive_function))) {
  libssh2_session_callback_set(session, LIBSSH2_CALLBACK_SEND, (void *)send_function);
  libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV, (void *)receive_function);
}

/* GNU extensions that Swift's Glibc module leaves out; the local transport needs them: a child in a session of its
   own that inherits no descriptor but the three it is given. */
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

static inline int convoy_spawn_close_from(posix_spawn_file_actions_t *actions, int from) {
  return posix_spawn_file_actions_addclosefrom_np(actions, from);
}

/* POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF */
static inline short convoy_spawn_flags(void) { return 0x80 | 0x08 | 0x04; }

#endif
