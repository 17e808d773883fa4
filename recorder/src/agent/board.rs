//! What the sampling thread shows to the server: swapped whole, so that neither ever waits for the
//! other's work.

use std::sync::{Arc, Mutex, PoisonError};

use crate::replay::Latest;

/// The newest sample and how the recorder is doing.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The newest values.
    pub(crate) latest: Arc<Latest>,
    /// Series per module, in the order sampled.
    pub(crate) modules: Vec<(&'static str, usize)>,
    /// CLOCK_BOOTTIME of the newest sample; 0 before the first.
    pub(crate) sampled_boottime_ns: u64,
    /// `ktm_status`.
    pub(crate) status: u64,
    /// Why rows are not being recorded, if they are not.
    pub(crate) trouble: Option<String>,
}

/// Where the view hangs.
#[derive(Default)]
pub(crate) struct Board {
    view: Mutex<Arc<View>>,
}

impl Board {
    pub(crate) fn show(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(crate) fn look(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
