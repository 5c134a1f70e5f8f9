//! SIGTERM and SIGINT: the first asks for a good end, the second for any. SIGHUP: read the settings again.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears the signals sent since it was made, each listener all of them.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) {
        // Woken by: SIGTERM · SIGINT. Both are cancel safe.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for two of them.
    pub async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}

/// Hears SIGHUP. Several that come while one is answered are one.
pub struct Reloads(Signal);

impl Reloads {
    /// From now on SIGHUP no longer ends the process by itself.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
