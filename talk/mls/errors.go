package mls

import "errors"

// Errors that a caller may branch on. Each is wrapped with the operation and
// the reason; none carries a key, a secret or a plaintext.
var (
	// ErrMalformed: bytes that are not the canonical encoding of anything.
	ErrMalformed = errors.New("malformed")
	// ErrUnsupported: well formed, but of a version, suite or kind not spoken here.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid: understood, and against the rules of RFC 9420 or of the policy.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthentic: a signature, tag or ciphertext that does not verify.
	ErrUnauthentic = errors.New("unauthentic")
	// ErrWrongGroup: the message belongs to another group.
	ErrWrongGroup = errors.New("wrong group")
	// ErrWrongEpoch: the message belongs to an epoch that is past (and not
	// kept) or to come. Fetch the commits in between, or drop it.
	ErrWrongEpoch = errors.New("wrong epoch")
	// ErrConsumed: the key of this message was used or deleted. A replay, a
	// message older than what is kept, or the sender's own message.
	ErrConsumed = errors.New("key already consumed")
	// ErrTooFarAhead: the message skips more than MaxForward messages.
	ErrTooFarAhead = errors.New("too far ahead")
	// ErrUnknownPSK: a pre-shared key that the caller's store does not hold.
	ErrUnknownPSK = errors.New("unknown pre-shared key")
	// ErrUnknownProposal: a commit refers to a proposal that was not received.
	// Process the proposal first, then the commit again.
	ErrUnknownProposal = errors.New("unknown proposal")
	// ErrNotMember: this member was removed, or the Welcome is for others.
	ErrNotMember = errors.New("not a member")
	// ErrSuspended: a ReInit was committed; the group continues under another id.
	ErrSuspended = errors.New("group awaits its reinitialisation")
)
