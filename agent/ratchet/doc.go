// Package ratchet keeps the secrets that must be forgotten: keys of MLS groups,
// which protect the past only if they are gone once they were used.
//
// It is a small store beside the database, because a database forgets nothing:
// what was deleted stays in free pages, in the journal and in backups, all under
// one key that never changes. Here every write goes under fresh keys, and the
// keys of before are overwritten.
//
//	root      2 slots of 4 KiB     under the caller's key: the key of the table
//	  └─ table-0 or table-1        under that key: a key for each shelf
//	       └─ shelf-…-0 or -1      under its key: the values of one conversation
//
// A write seals the shelves that it changes under new keys, into the files that
// are not in use; then a new table, into the other table file; then the free slot
// of the root. After the database has committed, the old slot is overwritten: of
// everything that was, only ciphertext without a key is left. So a write to one
// conversation costs its shelf, the table (about 90 bytes for each
// conversation), and two sectors, however much the others hold.
//
// What it guarantees, together with a [Ledger], the database:
//   - A write is there wholly or not at all, and it is there if and only if the
//     database's transaction is, after a crash at any moment. The generation that
//     the transaction records decides; no secret ever enters the database.
//   - When Write has returned, no file in the folder, with the caller's key, gives
//     back what the write deleted or replaced. If overwriting fails it says so.
//   - An old copy that was put back is noticed, since its generation is not the
//     database's: used again, its keys would encrypt twice.
//   - Damage is noticed and never read as data.
//
// What it cannot do: overwriting reaches the medium on disks and file systems that
// write in place. Flash memory, copy-on-write file systems, snapshots and the
// memory of this process may keep old sectors of the root for a while; there
// forgetting is best effort, and only one sector of 4 KiB has to go for a whole
// write to be forgotten. Against a thief who copies the medium again and again
// nothing helps but time between copies.
//
// What it must not know: what a value is, and the clock. One process at a time
// may use a folder; the caller sees to that by holding the database, which lets no
// second process in.
//
// Start at [Ratchet.Write]; root.go has the order of a write and what Open makes
// of what a crash left.
package ratchet
