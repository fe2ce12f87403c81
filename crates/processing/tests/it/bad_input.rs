//! What is no sound recording gets an error or warnings that say what to do, never a panic.
