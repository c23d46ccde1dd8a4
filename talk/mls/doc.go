// Package mls is Messaging Layer Security, RFC 9420, as a client: the key
// agreement under every conversation, from two devices to MaxMembers.
//
// # What it guarantees
//
// An operation that returns an error has changed nothing. The key of a message
// that was read or sent is gone from the state and, once the delta is written,
// from the store: the same state cannot read it again, and a replay is refused
// after any restart. (In memory, secrets are overwritten as they go, as far as
// Go's runtime and its crypto packages let us.) Nothing another party sends costs more than the bounds in
// limits.go before it has proved authentic, or makes this package panic. No
// error, and no value printed with any verb, shows a secret. Every encoding
// that is accepted is the only one of its value.
//
// # What it must not know
//
// It knows no names, no rooms and no networks, has no clock, and keeps nothing
// in package variables. Who may join, when a commit counts and how messages
// travel is for those above: [Policy.Check] judges credentials, [Staged] shows
// what a commit does before it is merged, and times and randomness are
// arguments.
//
// # How to use it
//
// A [Group] is one member's state. [Create] starts one; [Join] enters by a
// Welcome, [JoinExternal] by a commit of one's own. [Group.Encrypt] and
// [Group.Propose] make messages, [Group.Commit] makes a [Committed] whose
// Staged part is put in force by [Group.Merge]. [Group.Receive] takes
// everything that others send. [Group.Export] gives secrets to the layers
// above. [Group.Branch] and [Group.Reinitialise] start a group from another.
//
// # State
//
// The caller stores a group as records: [Group.TakeDelta] says what to put and
// what to delete since the last call, to be done in one atomic write before
// anything is sent or acted on; [Load] reads the records back. Merging a commit
// among 10,000 members writes a few dozen records, a message one.
//
// Keeping what is deleted undoes forward secrecy: stores that keep old versions
// of records, and backups of them, are the caller's to prevent.
//
// # Randomness
//
// Every function that needs randomness takes an io.Reader; give crypto/rand's.
// One exception: the X-Wing suite encapsulates with the system's randomness,
// because crypto/hpke offers no other way and ML-KEM is not written out here.
//
// # Suites
//
// [X25519AES128] and [X25519ChaCha20] of RFC 9420, and [XWingAES128], which is
// hybrid post-quantum and has a private-range code point until it gets one.
//
// # Where to start reading
//
// group.go has the state, receive.go and commit.go how it moves, staged.go how
// an epoch ends. ratchet_tree.go, tree_hash.go and tree_kem.go are the tree,
// key_schedule.go and secret_tree.go the keys, state.go what is stored. The
// profile is docs/SPEC-e2ee.md. Recorded runs of other implementations are
// played by [Scenario].
//
// The package has not been reviewed by outsiders.
package mls
