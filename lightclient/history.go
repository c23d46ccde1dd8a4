package lightclient

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// LoggedOp is one op of an account with its place on the chain.
type LoggedOp struct {
	_      struct{} `cbor:",toarray"`
	Seq    uint64
	Height uint64
	Time   uint64 // seconds since 1970
	Bytes  []byte // exact bytes
}

// Historian gives out accounts' ops. Like a Source it may lie.
type Historian interface {
	// Ops returns some of the account's ops after the given sequence, in order,
	// and whether there are more.
	Ops(ctx context.Context, id namesvc.AccountID, after uint64) (ops []LoggedOp, more bool, err error)
}

// Event is one proven op of an account's history.
type Event struct {
	ID     namesvc.OpID
	Seq    uint64
	Height uint64
	Time   uint64
	Tx     *namesvc.Tx
	Bytes  []byte
}

// maxHistory bounds how many ops a history may have. At the default quota an
// account reaches it after 18 years of its worst.
const maxHistory = 200_000

// History returns the whole history of an account whose proven entry is e. It
// is complete and true: hashing it must give the entry's op log.
func (c *Client) History(ctx context.Context, e namesvc.Entry) ([]Event, error) {
	if e.Seq > maxHistory {
		return nil, wire.Errorf(wire.Exhausted, "history: the account has %d ops, at most %d are read", e.Seq, maxHistory)
	}
	var failures []error
	for _, s := range c.sources {
		h, ok := s.(Historian)
		if !ok {
			continue
		}
		events, err := history(ctx, h, e)
		if err == nil {
			return events, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", s.Name(), err))
	}
	if len(failures) == 0 {
		return nil, wire.Errorf(wire.Unavailable, "history: no source keeps one")
	}
	return nil, wire.Errorf(wire.Unavailable, "history: no source has a true and complete one: %w", errors.Join(failures...))
}

func history(ctx context.Context, h Historian, e namesvc.Entry) ([]Event, error) {
	var events []Event
	var log namesvc.OpLog
	for uint64(len(events)) < e.Seq {
		ops, more, err := h.Ops(ctx, e.Account, uint64(len(events)))
		if err != nil {
			return nil, err
		}
		for _, o := range ops {
			n := uint64(len(events)) + 1
			if n > e.Seq {
				break // newer than the entry; it is not asked about
			}
			tx, fault := namesvc.Parse(o.Bytes)
			if fault != nil || o.Seq != n {
				return nil, errors.New("op out of place or malformed")
			}
			log = log.Append(n, o.Height, o.Time, tx.ID)
			events = append(events, Event{ID: tx.ID, Seq: n, Height: o.Height, Time: o.Time, Tx: tx, Bytes: o.Bytes})
		}
		if len(ops) == 0 || !more && uint64(len(events)) < e.Seq {
			return nil, fmt.Errorf("it has %d of %d ops", len(events), e.Seq)
		}
	}
	if !slices.Equal(log, namesvc.OpLog(e.OpLog)) {
		return nil, errors.New("it does not hash to what the entry says")
	}
	return events, nil
}
