package concierge

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// TagKnockWork: what a stranger's memory-hard work is bound to.
const TagKnockWork wire.Tag = "confab/concierge-work/1\n"

// workPeriod is how long work is good for: this period and the next. A sender
// learns the period from the descriptor, so that his own clock may be wrong.
const workPeriod = 10 * time.Minute

// checkers is how many pieces of work are checked at once: each takes WorkKiB
// of memory and half a millisecond of a core.
const checkers = 2

// strangerRate and strangerBurst are the checks of work of one network: work
// that is wrong costs its sender nothing, so not much of it is looked at.
const (
	strangerRate  = 1
	strangerBurst = 60
)

// The things that work pays for.
const (
	forKnock   = "knock"
	forPackage = "key package"
)

// Work is a stranger's payment.
type Work struct {
	_      struct{} `cbor:",toarray"`
	Period uint64
	Nonce  uint64
}

// challenge binds work to one thing at one concierge at one time: a body or a
// device key for one account. It is its own nullifier.
func challenge(me Service, purpose string, to Owner, period uint64, what []byte) [32]byte {
	return TagKnockWork.Sum(wire.Encode(struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Service namesvc.AccountID
		Purpose string
		To      Owner
		Period  uint64
		What    [32]byte
	}{Chain: me.Chain, Service: me.Account, Purpose: purpose, To: to, Period: period, What: sha256.Sum256(what)}))
}

func periodOf(now time.Time) uint64 { return uint64(now.Unix()) / uint64(workPeriod/time.Second) }

// checkWork returns why work does not pay, if it does not.
func (s *Server) checkWork(ctx context.Context, network [32]byte, purpose string, to Owner, w Work, what []byte) error {
	now := periodOf(s.now())
	if w.Period != now && w.Period+1 != now {
		return wire.Errorf(wire.Stale, "work is for period %d, and it is %d: do it again", w.Period, now)
	}
	if !s.strangers.take(network, 1, s.now()) {
		return wire.Errorf(wire.Exhausted, "too many strangers from your network: try again in a minute")
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	select {
	case s.checking <- struct{}{}:
		defer func() { <-s.checking }()
	case <-ctx.Done():
		return wire.Errorf(wire.Unavailable, "too many strangers at once: try again later")
	}
	if ticket.Bits(challenge(s.me, purpose, to, w.Period, what), w.Nonce, s.limits.WorkKiB) < s.limits.WorkBits {
		return wire.Errorf(wire.Unauthorized, "work does not suffice: %d bits with %d KiB are asked for", s.limits.WorkBits, s.limits.WorkKiB)
	}
	return nil
}

// spent is the message id under which work for a KeyPackage is used up.
func spent(challenge [32]byte, w Work) stream.MessageID {
	sum := TagKnockWork.Sum(challenge[:], binary.BigEndian.AppendUint64(nil, w.Nonce))
	return stream.MessageID(sum[:16])
}
