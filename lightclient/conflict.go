package lightclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Evidence shows that validators signed two blocks of one height. Its finder can
// believe it if [Evidence.Check] does; anyone else who believes the pin, only if
// it is also [Evidence.Standalone].
type Evidence struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	Pin     verify.Pin
	Height  uint64
	Found   uint64 // seconds since 1970, by the finder's clock
	Sides   [2]Side
}

// Side is one of the two blocks.
type Side struct {
	_      struct{} `cbor:",toarray"`
	Source string   // who showed it
	// From is what the bundle was verified from, nil for the pin. Without a
	// bundle it is the side itself: a head that the finder verified before.
	From   *verify.Trust
	Bundle []byte
}

// MaxEvidence bounds the encoding of Evidence in bytes: two bundles, two heads
// to start from, and the names of two sources.
const MaxEvidence = 2*(bundle.MaxSize+verify.MaxTrustSize) + 8<<10

// Check returns nil if the evidence holds: both sides verify, at the time when
// they were found, and are different headers of one height. It takes the
// finder's word for the heads that sides begin at: see [Evidence.Standalone].
func (e Evidence) Check(rules verify.Rules) error {
	_, err := e.Headers(rules)
	return err
}

// Headers returns the hashes of the two headers, if the evidence holds as
// [Evidence.Check] has it.
func (e Evidence) Headers(rules verify.Rules) (hashes [2][32]byte, err error) {
	for i, s := range e.Sides {
		height, hash, err := s.head(e, rules)
		if err != nil {
			return hashes, fmt.Errorf("evidence: side %d: %w", i+1, err)
		}
		if height != e.Height {
			return hashes, wire.Errorf(wire.Invalid, "evidence: side %d is of height %d, not %d", i+1, height, e.Height)
		}
		hashes[i] = hash
	}
	if hashes[0] == hashes[1] {
		return hashes, wire.Errorf(wire.Invalid, "evidence: both sides are the same header")
	}
	return hashes, nil
}

// Standalone reports whether both sides begin at the pin. A side that begins at
// a head that its finder had verified before shows nothing to others, since
// anyone can make such a head up.
func (e Evidence) Standalone() bool {
	for _, s := range e.Sides {
		isPin := s.From != nil && len(s.Bundle) == 0 && s.From.Pin() == e.Pin
		if s.From != nil && !isPin {
			return false
		}
	}
	return true
}

// head returns the header that a side shows.
func (s Side) head(e Evidence, rules verify.Rules) (uint64, [32]byte, error) {
	if len(s.Bundle) == 0 {
		if s.From == nil {
			return 0, [32]byte{}, wire.Errorf(wire.Invalid, "it shows nothing")
		}
		return s.From.Height, s.From.Hash, nil
	}
	v, err := bundle.Verify(s.Bundle, bundle.Trust{Pin: e.Pin, Known: s.From, Rules: rules}, e.found())
	var conflict *verify.ConflictError
	switch {
	case errors.As(err, &conflict):
		return conflict.Head.Header.Height, conflict.Head.Header.Hash(), nil
	case err != nil:
		return 0, [32]byte{}, err
	}
	return v.Trust.Height, v.Trust.Hash, nil
}

// found is when the evidence was found.
func (e Evidence) found() time.Time { return time.Unix(int64(e.Found), 0).UTC() }

// mark tells pieces of evidence apart in file names.
func (e Evidence) mark() string {
	sum := sha256.Sum256(wire.Encode(e))
	return hex.EncodeToString(sum[:6])
}

// DecodeEvidence parses evidence without checking it.
func DecodeEvidence(b []byte) (Evidence, error) {
	var e Evidence
	if err := wire.Decode(b, &e, MaxEvidence); err != nil {
		return Evidence{}, wire.Errorf(wire.Invalid, "evidence: %w", err)
	}
	if e.Version != 1 {
		return Evidence{}, wire.Errorf(wire.Invalid, "evidence: version %d is unknown to this program", e.Version)
	}
	return e, nil
}

// poisoned is the error that a chain gives from when it contradicted itself.
func (e Evidence) poisoned(where string) error {
	return wire.Errorf(wire.Conflict,
		"the validators of %s signed two blocks at height %d, as %s and %s showed: do not believe this chain until you know why; "+
			"the evidence is kept in %s, and nothing is believed while it is there; "+
			"to go on, add the network again with a pin of the block that people agree on: %w",
		Printable(e.Pin.ChainID), e.Height, Printable(e.Sides[0].Source), Printable(e.Sides[1].Source), where, verify.ErrConflict)
}

// crossTimeout bounds how long an answer that holds waits to be confirmed.
const crossTimeout = 5 * time.Second

// crossCheck asks other sources, in order, for the head of p's height until
// one answers with a proof that holds, and compares. A source that cannot or
// does not answer well is noted; a properly signed other head is a conflict.
func (c *Client) crossCheck(ctx context.Context, p *Proof, others []Source) error {
	ctx, cancel := context.WithTimeout(ctx, crossTimeout)
	defer cancel()
	for i, got := range inTurn(ctx, len(others), patience, func(ctx context.Context, i int) (Proof, error) {
		return c.askOne(ctx, others[i], p.from, Request{At: p.Height}, c.rules.TrustingPeriod)
	}) {
		q, err := got.value, got.err
		var conflict *verify.ConflictError
		switch {
		case errors.As(err, &conflict):
			return c.condemn(ctx, q, conflict)
		case err != nil:
			p.Notes = append(p.Notes, Printable(fmt.Sprintf("%s did not confirm the head of height %d: %v", others[i].Name(), p.Height, err)))
			continue
		case q.verified.Trust.Hash != p.verified.Trust.Hash:
			return c.keep(ctx, p.Height, p.side(), q.side())
		}
		p.Agree = append(p.Agree, q.Source)
		return nil
	}
	return nil
}

// side returns the proof as a side of a conflict.
func (p Proof) side() Side { return Side{Source: p.Source, From: p.from, Bundle: p.Bundle} }

// before is a side that was verified earlier.
func before(t verify.Trust) Side { return Side{Source: "what was verified before", From: &t} }

// condemn keeps the evidence that an answer gave against what was verified
// before, and ends all belief.
func (c *Client) condemn(ctx context.Context, p Proof, conflict *verify.ConflictError) error {
	return c.keep(ctx, conflict.Head.Header.Height, before(conflict.Trusted), p.side())
}

// contradict is condemn for an answer that holds by itself.
func (c *Client) contradict(ctx context.Context, p Proof, known verify.Trust) error {
	return c.keep(ctx, known.Height, before(known), p.side())
}

// keep keeps evidence and ends all belief.
func (c *Client) keep(ctx context.Context, height uint64, a, b Side) error {
	e := Evidence{Version: 1, Pin: c.pin, Height: height, Found: uint64(max(0, c.now().Unix())), Sides: [2]Side{a, b}}
	for i, s := range e.Sides {
		e.Sides[i] = c.fromPin(ctx, e, s)
	}
	where, err := c.store.Evidence(e)
	if err != nil {
		where = fmt.Sprintf("the memory of this program only, because of an error (%v)", err)
	}
	poison := e.poisoned(where)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.poison == nil {
		c.poison = poison
	}
	return poison
}

// fromPin returns the side as it looks from the pin, if a source still shows
// it, so that others can believe it too; else the side itself.
func (c *Client) fromPin(ctx context.Context, e Evidence, s Side) Side {
	if s.From == nil {
		return s
	}
	_, want, err := s.head(e, c.rules)
	if err != nil {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, crossTimeout)
	defer cancel()
	for _, got := range inTurn(ctx, len(c.sources), patience, func(ctx context.Context, i int) (Proof, error) {
		return c.askOne(ctx, c.sources[i], nil, Request{At: e.Height}, c.rules.TrustingPeriod)
	}) {
		if p := got.value; got.err == nil && p.verified.Trust.Hash == want {
			return Side{Source: s.Source, Bundle: p.Bundle}
		}
	}
	return s
}
