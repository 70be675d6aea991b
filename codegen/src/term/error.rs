//! What can go wrong between a program and its candidates.

use std::fmt;

/// Why a program could not be optimised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// A law that is to be left out does not exist.
    UnknownLaw {
        /// The name given.
        name: String,
        /// All laws.
        known: Vec<String>,
    },
    /// An expected size is given for an axis that the program does not have.
    UnknownAxis {
        /// The name given.
        name: String,
        /// The program's axes.
        known: Vec<String>,
    },
    /// A definition cannot be computed from what is stored.
    Underivable {
        /// The definition's name.
        definition: String,
    },
    /// A term is not what its place asks for.
    Malformed {
        /// What is wrong.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownLaw { name, known } => {
                write!(f, "there is no law `{name}`; the laws are {}", known.join(", "))
            }
            Error::UnknownAxis { name, known } => {
                write!(f, "there is no axis `{name}`; the axes are {}", known.join(", "))
            }
            Error::Underivable { definition } => {
                write!(
                    f,
                    "no way was found to compute `{definition}` (this is a defect of the compiler, please report it)"
                )
            }
            Error::Malformed { message } => write!(
                f,
                "the program was translated wrongly: {message} (this is a defect of the compiler, please report it)"
            ),
        }
    }
}

impl std::error::Error for Error {}
