package lightclient

import (
	"context"
	"errors"
	"slices"
	"time"

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

// Bounds of a history that somebody reads whole.
const (
	// maxHistory bounds the ops. At the default quota an account reaches it
	// after 18 years of its worst.
	maxHistory = 200_000
	// maxHistoryBytes bounds the ops' bytes, which are true only once the last
	// one is there: a liar could send the largest there are. Real ones have
	// 300 on average.
	maxHistoryBytes = 64 << 20
	// opsPerTurn is how many ops a source must give out in each sourceTimeout,
	// or be given up on: a page has 200.
	opsPerTurn = 200
)

// errNoHistorian reports sources that keep no history at all.
var errNoHistorian error = wire.Errorf(wire.Unavailable, "history: no source keeps one")

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
		failures = append(failures, &failure{s.Name(), err})
	}
	if len(failures) == 0 {
		return nil, errNoHistorian
	}
	return nil, wire.Errorf(wire.Unavailable, "history: no source has a true and complete one: %w", errors.Join(failures...))
}

func history(ctx context.Context, h Historian, e namesvc.Entry) ([]Event, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout*time.Duration(1+e.Seq/opsPerTurn))
	defer cancel()
	var events []Event
	var log namesvc.OpLog
	size := 0
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
			if fault != nil || tx.Op == nil || o.Seq != n || tx.Op.Seq != n || tx.Op.Account != e.Account {
				return nil, wire.Errorf(wire.Invalid, "op %d is malformed or of another place", n)
			}
			if size += len(o.Bytes); size > maxHistoryBytes {
				return nil, wire.Errorf(wire.Exhausted, "the first %d ops have more than %d bytes", n, maxHistoryBytes)
			}
			log = log.Append(n, o.Height, o.Time, tx.ID)
			events = append(events, Event{ID: tx.ID, Seq: n, Height: o.Height, Time: o.Time, Tx: tx, Bytes: o.Bytes})
		}
		if len(ops) == 0 || !more && uint64(len(events)) < e.Seq {
			return nil, wire.Errorf(wire.Invalid, "it has %d of %d ops", len(events), e.Seq)
		}
	}
	if !slices.Equal(log, namesvc.OpLog(e.OpLog)) {
		return nil, wire.Errorf(wire.Invalid, "it does not hash to what the entry says")
	}
	return events, nil
}
