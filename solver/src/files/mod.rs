//! Files of contexts and trees: walking, hashing, copying. Being written.
