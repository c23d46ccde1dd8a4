// Package store keeps a person's conversations on this device: contacts,
// messages, what is still to be sent and what was received, in one encrypted
// SQLite database with full-text search.
//
// What it guarantees. A transaction ([Store.Update]) is there wholly or not at all,
// after a crash of the process or the machine at any moment, and once Update
// returned nil it is there. What was received and how far an inbox was read are
// one transaction, so a message is processed before it is acknowledged and is
// processed once. What is to be sent stays until somebody else has it, in order
// for each destination, and a destination that does not answer holds up no other.
// A conversation is never overwritten by another, nor an account's generation by
// a newer one unless the person says so. What a message looks like is decided by
// talk/message alone; the store keeps that up to date. Deleted content is
// overwritten in the database, as far as the next point allows.
//
// What it cannot do: forget for certain. The key never changes, and old pages stay
// in the journal until it is written over. What must be forgotten is in
// agent/ratchet; [Tx.SetGeneration] ties both together. Pages are encrypted
// (Adiantum) but not authenticated: whoever may write to the file can destroy it,
// or put an old copy back; the latter agent/ratchet notices. The sizes of files
// tell how much there is.
//
// What it must not know: networks, MLS, servers, the clock (times are arguments)
// and how a key is kept. Callers see no SQL.
//
// A database belongs to one account and to one process at a time; the second is
// refused. Start at [Store] and [Tx]; schema.go has the tables.
package store
