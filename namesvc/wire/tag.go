package wire

import "crypto/sha256"

// A Tag separates one purpose of a signature or hash from all others: the same
// bytes signed for one purpose never pass for another. Tags end in a newline
// and contain no other, so none is a prefix of another. They are frozen.
type Tag string

// The tags in use. New purposes get new tags; a changed format gets a new
// version at the end of its tag.
const (
	// TagOp: an account's root or device key signs an op (SPEC-names §5).
	TagOp Tag = "confab/op/1\n"
	// TagDevice: a new device key shows that it agrees to join an account.
	TagDevice Tag = "confab/device/1\n"
	// TagAcceptance: a service's server key agrees to serve an account.
	TagAcceptance Tag = "confab/acceptance/1\n"
	// TagCommit: the hash that a commit publishes before its reveal.
	TagCommit Tag = "confab/commit/1\n"
	// TagWork: what memory-hard work and a sponsor's ticket are bound to.
	TagWork Tag = "confab/work/1\n"
	// TagCommitID: the id of a commit in the state, from its kind of payment and
	// what it announces.
	TagCommitID Tag = "confab/commit-id/1\n"
	// TagNextRoot: the hash of a root key that is not yet shown.
	TagNextRoot Tag = "confab/next-root/1\n"
	// TagTie: the order of registrations that were committed at one height.
	TagTie Tag = "confab/tie/1\n"
	// TagPossession: a validator's consensus key agrees to an operator account.
	TagPossession Tag = "confab/possession/1\n"
	// TagRequest: a client proves itself to a server.
	TagRequest Tag = "confab/request/1\n"
	// TagKnock: a device asks another account for contact (SPEC-e2ee §12).
	TagKnock Tag = "confab/knock/1\n"
)

// Message returns the bytes to sign or hash for this purpose: the tag and the
// exact bytes.
func (t Tag) Message(b []byte) []byte {
	m := make([]byte, 0, len(t)+len(b))
	m = append(m, t...)
	return append(m, b...)
}

// Sum returns the SHA-256 of the tag followed by the parts. Callers with more
// than one part of variable length must encode them first.
func (t Tag) Sum(parts ...[]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(t))
	for _, p := range parts {
		h.Write(p)
	}
	var out [32]byte
	h.Sum(out[:0])
	return out
}
