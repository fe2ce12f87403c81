//! Numbers that a store gives out.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Wraps a number that a store gave out.
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A job, for as long as anything of it is kept. Never used again for another.
    JobId
}
number! {
    /// One life of a worker: a new one at each start, and after each fence.
    SessionId
}
number! {
    /// One claim. Later claims have higher tokens; only the latest token of a job may end it.
    ClaimToken
}
number! {
    /// Jobs that others wait for.
    FlowId
}
