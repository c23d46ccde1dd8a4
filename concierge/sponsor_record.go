package concierge

import (
	"bytes"
	"slices"
	"time"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	// maxInvitations wait at once: all of them are one entry of the store, of
	// under 100 bytes each.
	maxInvitations = 500
	// MaxInvitationLife is how long a code is good at most.
	MaxInvitationLife = 365 * 24 * time.Hour
	// rememberSpent is how long a code that was spent can be answered again with
	// the same signature. An op waits for an hour at most, so a ticket is worth
	// nothing after that.
	rememberSpent = 24 * time.Hour
)

// grants is all that is kept of what was sponsored: codes that wait or were just
// spent, by their public keys, and how many tickets were given on a day. It is
// replaced as a whole, so that of two who spend a code at once, in whatever
// processes, one is first.
type grants struct {
	_       struct{} `cbor:",toarray"`
	Version uint64   // 1
	Day     uint64   // of Issued, in days since 1970
	Issued  uint64
	Waiting []waiting // in the order in which they were made
}

// waiting is one code.
type waiting struct {
	_     struct{} `cbor:",toarray"`
	Key   key.Public
	Until uint64 // seconds since 1970: it is forgotten then
	Spent []byte // SHA-256 of the blinded challenge that it was spent for, or empty
}

func dayOf(now time.Time) uint64 { return uint64(now.Unix()) / (24 * 60 * 60) }

// tidy forgets codes whose time is over.
func (g *grants) tidy(now time.Time) {
	g.Waiting = slices.DeleteFunc(g.Waiting, func(w waiting) bool { return w.Until <= uint64(now.Unix()) })
	if today := dayOf(now); g.Day != today {
		g.Day, g.Issued = today, 0
	}
}

// add takes new codes in.
func (g *grants) add(keys []key.Public, until time.Time) error {
	if len(g.Waiting)+len(keys) > maxInvitations {
		return wire.Errorf(wire.Exhausted, "%d invitations wait already, and %d may: wait until some are used or their time is over", len(g.Waiting), maxInvitations)
	}
	for _, k := range keys {
		g.Waiting = append(g.Waiting, waiting{Key: k, Until: uint64(until.Unix())})
	}
	return nil
}

// spend counts a ticket, and spends the code if there is one. again says that the
// very same ticket was given before: then nothing changes.
func (g *grants) spend(k *key.Public, blinded [32]byte, now time.Time, daily uint64) (again bool, err error) {
	i := -1
	if k != nil {
		i = slices.IndexFunc(g.Waiting, func(w waiting) bool { return w.Key == *k })
		switch {
		case i < 0:
			return false, errInvited
		case bytes.Equal(g.Waiting[i].Spent, blinded[:]):
			return true, nil
		case len(g.Waiting[i].Spent) != 0:
			return false, wire.Errorf(wire.Exists, "this invitation code was used already: ask for another one")
		}
	}
	if g.Issued >= daily {
		return false, wire.Errorf(wire.Exhausted, "this sponsor has given away the %d tickets of today: try again tomorrow", daily)
	}
	g.Issued++
	if i >= 0 {
		g.Waiting[i].Spent, g.Waiting[i].Until = blinded[:], uint64(now.Add(rememberSpent).Unix())
	}
	return false, nil
}

// unused returns how many codes wait.
func (g *grants) unused() (n int) {
	for _, w := range g.Waiting {
		if len(w.Spent) == 0 {
			n++
		}
	}
	return n
}
