package namesvc

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// maxExtraBits bounds how much harder a busy day makes registrations: a million
// times, beyond which nobody would get through.
const maxExtraBits = 20

// RequiredBits returns how many bits of work a commit at this time needs: the
// chain's own, and one more each time the day's commits by work reach another
// multiple of the daily number. Tickets do not count: they have quotas.
func RequiredBits(p Params, m Meter, time uint64) int {
	extra := uint32(0)
	if m.Day == time/day {
		extra = min(m.Commits/p.Daily, maxExtraBits)
	}
	return int(p.WorkBits) + int(extra)
}

// sweep is how many dead commits each new one clears away. Two per one added
// keep the queue bounded whatever the load.
const sweep = 2

func (l *law) commit(tx *Tx) error {
	c := tx.Commit
	if err := l.window(c.Chain, c.Expires, l.params.Reveal); err != nil {
		return err
	}
	id := c.ID()
	var known commitLeaf
	switch err := l.load(CommitKey(id), &known); {
	case err == nil:
		return reject(CommitExists, "")
	case !errors.Is(err, errAbsent):
		return err
	}
	var m Meter
	if err := l.load(MeterKey(), &m); err != nil {
		return err
	}
	if err := l.pay(tx, m); err != nil {
		return err
	}
	if err := l.sweep(&m); err != nil {
		return err
	}
	if c.Payment == ticket.Work {
		if today := l.block.Time / day; m.Day != today {
			m.Day, m.Commits = today, 0
		}
		m.Commits++
	}
	leaf := commitLeaf{Height: l.block.Height, Number: m.Next}
	m.Next++
	l.view.Set(CommitKey(id), wire.Encode(leaf))
	l.view.Set(queueKey(leaf.Number), wire.Encode(id))
	l.view.Set(MeterKey(), wire.Encode(m))
	return nil
}

// pay checks the commit's payment.
func (l *law) pay(tx *Tx, m Meter) error {
	c := tx.Commit
	switch {
	case c.Payment == ticket.Work && len(c.Proof) == ticket.NonceSize:
	case c.Payment == ticket.Blind && len(c.Proof) == ticket.BlindSize:
	default:
		return reject(BadPayment, "kind %d of %d bytes; this chain takes work, a nonce of %d bytes, and tickets of %d",
			c.Payment, len(c.Proof), ticket.NonceSize, ticket.BlindSize)
	}
	// The newest checkpoint and the one before: what was begun when a
	// checkpoint passed is still good, and nothing can be hoarded for longer.
	if c.Checkpoint > m.Checkpoint || c.Checkpoint+1 < m.Checkpoint {
		return reject(StaleCheckpoint, "it is %d, the newest is %d", c.Checkpoint, m.Checkpoint)
	}
	var cp Checkpoint
	if err := l.load(CheckpointKey(c.Checkpoint), &cp); err != nil {
		return err
	}
	challenge := ticket.Challenge(c.Chain, c.Hash, cp.Digest)
	if c.Payment == ticket.Blind {
		return l.payTicket(c, challenge)
	}
	want := RequiredBits(l.params, m, l.block.Time)
	got := tx.work.bits(challenge, binary.BigEndian.Uint64(c.Proof), l.params.WorkKiB)
	if got < want {
		return reject(NotEnoughWork, "it has %d bits, %d are needed", got, want)
	}
	return nil
}

// sweep deletes the oldest commits of the queue that can neither be revealed nor
// be made again. Nobody signs a commit, so anyone can repeat it with a later
// expiry; as long as its payment is bound to a checkpoint that counts, only the
// leaf keeps it from counting twice.
func (l *law) sweep(m *Meter) error {
	if m.Checkpoint < 2 {
		return nil
	}
	// Commits up to this height are bound to a checkpoint before this one.
	var cp Checkpoint
	if err := l.load(CheckpointKey(m.Checkpoint-1), &cp); err != nil {
		return err
	}
	for n := 0; n < sweep && m.Oldest < m.Next; n++ {
		var id [32]byte
		if err := l.load(queueKey(m.Oldest), &id); err != nil {
			return err
		}
		var leaf commitLeaf
		if err := l.load(CommitKey(id), &leaf); err != nil {
			return err
		}
		if l.block.Height <= leaf.Height+l.params.Reveal || leaf.Height > cp.Height {
			return nil
		}
		l.view.Set(queueKey(m.Oldest), nil)
		l.view.Set(CommitKey(id), nil)
		m.Oldest++
	}
	return nil
}

// workMemo remembers the one costly number of a commit, so that a validator
// that sees it three times (mempool, proposal, block) computes it once.
type workMemo struct {
	mu        sync.Mutex
	known     bool
	challenge [32]byte
	n         int
}

func (w *workMemo) bits(challenge [32]byte, nonce uint64, kib uint32) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.known || w.challenge != challenge {
		w.n, w.challenge, w.known = ticket.Bits(challenge, nonce, kib), challenge, true
	}
	return w.n
}
