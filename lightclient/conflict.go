package lightclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Evidence is proof that validators signed two blocks of one height: two
// bundles that both verify from one trust and end in different heads.
type Evidence struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	Pin     verify.Pin
	Height  uint64
	Sources [2]string
	Found   uint64 // seconds since 1970, by the finder's clock
	Steps   [2][]bundle.Step
}

// crossCheck asks the other sources, in order, for the head of p's height until
// one answers with a proof that holds, and compares. A source that cannot or
// does not answer well is noted; a properly signed other head is a conflict.
func (c *Client) crossCheck(ctx context.Context, p *Proof, known *verify.Trust, others []Source) error {
	for _, s := range others {
		q, err := c.askOne(ctx, s, Request{At: p.Height}, known, c.rules.TrustingPeriod)
		var conflict *verify.ConflictError
		switch {
		case errors.As(err, &conflict):
			return c.condemn(s, conflict)
		case err != nil:
			p.Notes = append(p.Notes, fmt.Sprintf("%s did not confirm the head of height %d: %v", s.Name(), p.Height, err))
			continue
		case q.Height != p.Height:
			p.Notes = append(p.Notes, fmt.Sprintf("%s answered with height %d instead of %d", s.Name(), q.Height, p.Height))
			continue
		case q.verified.Trust.Hash != p.verified.Trust.Hash:
			return c.disagree(*p, q)
		}
		p.Agree = append(p.Agree, s.Name())
		return nil
	}
	return nil
}

// disagree keeps the evidence that two sources gave, and ends all belief.
func (c *Client) disagree(p, q Proof) error {
	a, err := bundle.Decode(p.Bundle)
	if err != nil {
		return err
	}
	b, err := bundle.Decode(q.Bundle)
	if err != nil {
		return err
	}
	return c.keep(Evidence{
		Version: 1, Pin: c.pin, Height: p.Height, Sources: [2]string{p.Source, q.Source},
		Found: uint64(c.now().Unix()), Steps: [2][]bundle.Step{a.Steps, b.Steps},
	})
}

// condemn keeps the evidence that one source gave against what was verified
// before, and ends all belief.
func (c *Client) condemn(s Source, conflict *verify.ConflictError) error {
	return c.keep(Evidence{
		Version: 1, Pin: c.pin, Height: conflict.Head.Header.Height, Sources: [2]string{"verified before", s.Name()},
		Found: uint64(c.now().Unix()),
		Steps: [2][]bundle.Step{nil, {{Head: conflict.Head, Validators: &conflict.Validators}}},
	})
}

func (c *Client) keep(e Evidence) error {
	where, err := c.store.Evidence(e)
	if err != nil {
		where = fmt.Sprintf("nowhere, because of an error (%v)", err)
	}
	poison := wire.Errorf(wire.Conflict,
		"the validators of %s signed two blocks at height %d (%s and %s disagree): do not believe this chain until you know why; the evidence is kept in %s: %w",
		c.pin.ChainID, e.Height, e.Sources[0], e.Sources[1], where, verify.ErrConflict)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poison = poison
	return poison
}

// found is when evidence was found, for file names.
func (e Evidence) found() time.Time { return time.Unix(int64(e.Found), 0).UTC() }
