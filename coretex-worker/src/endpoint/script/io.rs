//! The three streams of a script, moved at once and bounded.

use std::{io, pin::pin, time::Duration};

use futures::future::{Either, select, try_join3};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::timeout,
};
use zeroize::Zeroizing;

use super::process::{Exit, Group};
use crate::{
    endpoint::{
        answer,
        bound::{Tail, read_all},
        call::Call,
    },
    job_error::JobError,
};

/// How long a stream may stay open when all of the group has ended: only a process that left it can hold it.
const HELD: Duration = Duration::from_secs(1);

/// How the program ended, its output, and the end of what it said on its error stream.
pub(super) type Ended = (Exit, Vec<u8>, String);

pub(super) struct Streams<'a> {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    input: Zeroizing<Vec<u8>>,
    call: &'a Call,
}

impl<'a> Streams<'a> {
    pub(super) fn of(group: &mut Group, input: Zeroizing<Vec<u8>>, call: &'a Call) -> Self {
        let child = &mut group.child;
        Self { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take(), input, call }
    }

    /// Runs until the program has ended and its streams are read, or until one of them fails.
    pub(super) async fn until_end(self, group: &mut Group) -> Result<Ended, JobError> {
        let Self { stdin, stdout, stderr, input, call } = self;
        let max = call.limits.max_output_bytes;
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program need not read what it is given.
                let _ = stdin.write_all(&input).await;
            }
            Ok(())
        };
        let output = async {
            let Some(stdout) = stdout else { return Ok(Vec::new()) };
            read_all(stdout, max).await.map_err(failed)?.ok_or_else(|| answer::too_large("the standard output", max))
        };
        let errors = async {
            let mut tail = Tail::new(&call.redactor);
            if let Some(stderr) = stderr {
                tail.drain(stderr).await.map_err(failed)?;
            }
            Ok(tail)
        };
        let streams = pin!(try_join3(write, output, errors));
        let (exit, ((), output, tail)) = match select(streams, pin!(group.end())).await {
            Either::Left((streams, end)) => {
                let streams = streams?;
                (end.await.map_err(failed)?, streams)
            }
            Either::Right((exit, streams)) => {
                let streams = timeout(HELD, streams).await.unwrap_or_else(|_| Err(held()))?;
                (exit.map_err(failed)?, streams)
            }
        };
        Ok((exit, output, tail.text(&call.redactor)))
    }
}

fn failed(error: io::Error) -> JobError {
    JobError::retry(error).with_code("script_failed")
}

fn held() -> JobError {
    let text = "a process that left the script's group holds its output open; end it before the script ends";
    JobError::failed(text).with_code("script_failed")
}
