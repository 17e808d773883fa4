//! How a person is shown things.

use crate::time::Zone;

/// How a person is shown things. Machine formats do not look at it.
#[derive(Clone, Debug)]
pub struct Presentation {
    /// The zone of every time shown.
    pub zone: Zone,
    /// Colour, for a terminal.
    pub colour: bool,
    /// Recorded values instead of rates.
    pub raw: bool,
    /// Characters to a line.
    pub width: usize,
    /// The name of the recording.
    pub file: String,
}

impl Presentation {
    /// Without colour, 100 characters wide.
    pub fn plain(zone: Zone, file: impl Into<String>) -> Presentation {
        Presentation {
            zone,
            colour: false,
            raw: false,
            width: 100,
            file: file.into(),
        }
    }

    /// The text in one of the terminal's colours, or as it is.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

/// The few colours in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Yellow = 33,
}
