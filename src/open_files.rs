//! How many files, and so sockets, this process may have open.
//!
//! A shell or a service manager often gives a soft limit of 1024, which any process may raise to the hard one by itself. What is
//! above that has to be given: where `limits.connections` does not fit, it is told at the start, and not by the 1025th client.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::serve::SPARE;

/// Besides clients: the pool, the listening connection, webhooks and models, files being uploaded, the program itself.
const OURS: usize = 192;

/// Raises the limit as far as may be, and warns where so many connections do not fit.
pub fn provide_for(connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    let in_force = if before.current == before.maximum || setrlimit(Resource::Nofile, raised).is_ok() {
        raised.current
    } else {
        before.current
    };
    // None is no limit.
    let wanted = (connections + SPARE + OURS) as u64;
    if let Some(limit) = in_force.filter(|limit| *limit < wanted) {
        tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than limits.connections needs: raise LimitNOFILE or ulimit -n"
        );
    }
}
