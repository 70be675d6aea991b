//! What the demonstration works on: a text, embedded so that attention answers "what followed the last time these bytes were seen".

mod corpus;
mod embedding;
mod keys;

pub use corpus::text;
pub use embedding::{Embedded, HEADS, WIDTH, accuracy, embed};
pub use keys::{Sparsity, full_keys};
