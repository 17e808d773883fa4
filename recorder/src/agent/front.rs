//! The thread that deals with the outside: signals, and HTTP where it is wanted.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Requests;
use super::say::say;
use crate::server;

/// Threads that answer HTTP requests from the file, at most; the server's own limit is lower.
const READERS: usize = 8;

/// Starts the thread. When this returns, signals are no longer deadly.
pub(super) fn start(
    requests: Arc<Requests>,
    http: Option<(TcpListener, server::Shared)>,
) -> std::io::Result<()> {
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("ktm-front".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(READERS)
                .thread_stack_size(512 * 1024)
                .thread_name("ktm-http")
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    match Signals::install() {
                        Ok(signals) => {
                            let _ = ready.send(Ok(()));
                            if let Some((listener, shared)) = http {
                                tokio::spawn(serve(listener, shared));
                            }
                            signals.pass_on(&requests).await;
                        }
                        Err(error) => drop(ready.send(Err(error))),
                    }
                }),
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
    is_ready.recv().map_err(std::io::Error::other)?
}

async fn serve(listener: TcpListener, shared: server::Shared) {
    if let Err(error) = server::serve(listener, shared).await {
        say(format_args!(
            "the HTTP server has ended, recording goes on: {error}"
        ));
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    sample: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            sample: signal(SignalKind::user_defined1())?,
        })
    }

    async fn pass_on(mut self, requests: &Requests) {
        loop {
            let is_first = tokio::select! {
                _ = self.terminate.recv() => requests.stop("SIGTERM"),
                _ = self.interrupt.recv() => requests.stop("SIGINT"),
                _ = self.sample.recv() => { requests.sample(); true }
            };
            if !is_first {
                say("stopped without waiting for the disk");
                std::process::exit(1);
            }
        }
    }
}
