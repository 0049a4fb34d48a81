//! A process group: started together, and gone together.
//!
//! Invariant: the group's leader is reaped only after the group was killed. Until then its id cannot be given to
//! anybody else, so that no signal reaches a stranger.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long processes that were killed may take to be gone.
const GONE: Duration = Duration::from_secs(1);

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i64),
    Signal(i32),
}

impl Exit {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code.into()),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// A running group. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Group {
    id: Pid,
    pub(super) child: Child,
    /// Readable when the leader has ended, without reaping it.
    ended: AsyncFd<OwnedFd>,
    reaped: bool,
}

impl Group {
    /// Starts `command` as the leader of a new group, with pipes for its three streams.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the process has no id"))?;
        match watch(id) {
            Ok(ended) => Ok(Self { id, child, ended, reaped: false }),
            Err(error) => {
                // The child is not reaped yet, so the id is its own.
                kill(id, Signal::KILL);
                Err(error)
            }
        }
    }

    /// Completes when the leader has ended.
    async fn leader_ended(&self) {
        if self.ended.readable().await.is_err() {
            // The runtime is going down, and this future with it.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the leader, kills what it left behind, and tells how it ended.
    pub(super) async fn end(&mut self) -> io::Result<Exit> {
        self.leader_ended().await;
        self.reap().await
    }

    /// Asks the group to end, and kills it when `grace` has passed.
    pub(super) async fn stop(&mut self, grace: Duration) {
        if !self.reaped {
            kill(self.id, Signal::TERM);
            let _ = timeout(grace, self.leader_ended()).await;
            self.kill().await;
        }
    }

    /// Kills all of it that is still there.
    pub(super) async fn kill(&mut self) {
        if !self.reaped {
            kill(self.id, Signal::KILL);
            let _ = self.end().await;
        }
    }

    async fn reap(&mut self) -> io::Result<Exit> {
        kill(self.id, Signal::KILL);
        let status = self.child.wait().await?;
        self.reaped = true;
        Ok(Exit::of(status))
    }

    /// Kills what is left and waits for it to be gone.
    pub(super) async fn gone(mut self) {
        self.kill().await;
        let id = self.id;
        drop(self);
        let polls = async {
            while test_kill_process_group(id) != Err(Errno::SRCH) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = timeout(GONE, polls).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            kill(self.id, Signal::KILL);
        }
    }
}

fn watch(id: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = pidfd_open(id, PidfdFlags::NONBLOCK).or_else(|error| match error {
        // Kernels before 5.10 know no such flag.
        Errno::INVAL => pidfd_open(id, PidfdFlags::empty()),
        other => Err(other),
    })?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that lie; a descriptor that is owned does not"
    )]
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// A group that is gone already needs no signal.
fn kill(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}
