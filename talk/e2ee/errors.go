package e2ee

import "errors"

// Errors that a caller branches on. None carries a key or what people write.
// What is wrapped in none of them is bytes that nobody here has to do with.
var (
	// ErrOthers: it is for another device, conversation or group.
	ErrOthers = errors.New("for others")
	// ErrEarly: of an epoch to come. Keep it, and try again after the next commit.
	ErrEarly = errors.New("of an epoch to come")
	// ErrLate: of an epoch that is past and not kept; or a commit of an epoch that
	// already has its commit.
	ErrLate = errors.New("of an epoch that is gone")
	// ErrSpent: read before, or sent by this device itself.
	ErrSpent = errors.New("read before, or one's own")
	// ErrBroken: this session cannot go on, or not with this message: the groups
	// have come apart, keys are lost, or this device was removed. For what stands in
	// a slot, make a new instance. Elsewhere it can also be rubbish by somebody who
	// knows the envelope key, so a single one is no reason yet.
	ErrBroken = errors.New("the session cannot go on")
	// ErrForbidden: a member broke the rules. Of a commit in its slot: nobody who
	// keeps the rules will follow it; make a new instance.
	ErrForbidden = errors.New("against the rules of the conversation")
)
