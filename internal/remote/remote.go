package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A Network answers from the query APIs of a network's validators. It may be used
// from several goroutines; they are answered one after the other.
type Network struct {
	pin     verify.Pin
	rules   verify.Rules
	sources []*origin
	now     func() time.Time

	mu     sync.Mutex
	bases  []verify.Pin   // the pin, and older heights that it vouches for
	trusts []verify.Trust // verified, ascending
	heads  map[uint64]head
	poison error // sources disagreed
}

type head struct {
	verify.Head
	set verify.Validators
}

// origin is one source: its bundles by the light client's own door, all else by
// plain requests.
type origin struct {
	bundles *source.HTTP
	api     api

	fault error     // of its last answer, nil if that held
	since time.Time // when it was asked
}

// judge keeps how an answer was. It is called under Network.mu.
func (s *origin) judge(now time.Time, err error) { s.fault, s.since = err, now }

// maxHeads bounds what is remembered: a node that joins asks for some dozens.
const maxHeads = 512

// MaxSources bounds the sources.
const MaxSources = 16

// New returns the network of a pin as sources at these base URLs see it, at least
// one. client may be nil.
func New(pin verify.Pin, urls []string, client *http.Client) (*Network, error) {
	if len(urls) == 0 || len(urls) > MaxSources {
		return nil, wire.Errorf(wire.Invalid, "name 1 to %d sources: query addresses of validators of %s", MaxSources, pin.ChainID)
	}
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	n := &Network{pin: pin, rules: verify.DefaultRules(), now: time.Now, heads: map[uint64]head{}, bases: []verify.Pin{pin}}
	seen := map[string]bool{}
	for _, u := range urls {
		s, err := source.NewHTTP(u, client)
		if err != nil {
			return nil, err
		}
		if seen[s.Name()] {
			return nil, wire.Errorf(wire.Invalid, "the source %s is named twice; it cannot confirm itself", s.Name())
		}
		seen[s.Name()] = true
		n.sources = append(n.sources, &origin{bundles: s, api: newAPI(s.Name(), client)})
	}
	return n, nil
}

// Pin returns the pin that everything verified stands on.
func (n *Network) Pin() verify.Pin { return n.pin }

// Head returns the verified head of a height with the validators that signed it.
// It waits for one that is not there yet until the context ends. One before the pin
// is verified from the checkpoint before it, whose digest is in the state.
func (n *Network) Head(ctx context.Context, height uint64) (verify.Head, verify.Validators, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h, ok := n.heads[height]; ok && n.poison == nil {
		return h.Head, h.set, nil
	}
	if height < n.bases[0].Height {
		if err := n.reachBack(ctx, height); err != nil {
			return verify.Head{}, verify.Validators{}, err
		}
	}
	for {
		h, err := n.ask(ctx, lightclient.Request{At: height})
		if err == nil || wire.CodeOf(err) != wire.Unavailable {
			return h.Head, h.set, err
		}
		select {
		case <-ctx.Done():
			return verify.Head{}, verify.Validators{}, err
		case <-time.After(retry):
		}
	}
}

// retry is how long a source that has not what is wanted is left alone: about a
// block.
const retry = 500 * time.Millisecond

// Newest returns the height of the newest head, verified.
func (n *Network) Newest(ctx context.Context) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, err := n.ask(ctx, lightclient.Request{Chain: true})
	return h.Header.Height, err
}

// ask puts a request to the sources in turn, takes the first answer that holds
// and compares its head with what another one knows.
func (n *Network) ask(ctx context.Context, r lightclient.Request) (head, error) {
	if n.poison != nil {
		return head{}, n.poison
	}
	known := n.known(r.At)
	var failures []error
	for i, s := range n.sources {
		h, trust, err := n.askOne(ctx, s, r, n.base(r.At), known)
		if conflict := (*verify.ConflictError)(nil); errors.As(err, &conflict) {
			n.poison = wire.Errorf(wire.Conflict, "%s: %w", s.api.base, err)
			return head{}, n.poison
		}
		s.judge(n.now(), err)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", s.api.base, err))
			continue
		}
		if err := n.confirm(ctx, h, n.sources[i+1:], n.base(r.At), known); err != nil {
			n.poison = err
			return head{}, err
		}
		n.keep(h, trust)
		return h, nil
	}
	return head{}, summary(failures)
}

// summary is one error for what all sources answered. While one of them may do
// better later, it is of kind Unavailable.
func summary(failures []error) error {
	code := wire.CodeOf(failures[0])
	for _, err := range failures {
		if wire.CodeOf(err) == wire.Unavailable {
			code = wire.Unavailable
		}
	}
	return wire.Errorf(code, "%w", errors.Join(failures...))
}

// known returns the newest verified head that is not above a height, 0 for any,
// or nil for the pin.
func (n *Network) known(height uint64) *verify.Trust {
	var best *verify.Trust
	for i := range n.trusts {
		if height == 0 || n.trusts[i].Height <= height {
			best = &n.trusts[i]
		}
	}
	return best
}

// base returns the newest height that is not above another one, 0 for any, from
// which a path can begin without a verified head.
func (n *Network) base(height uint64) verify.Pin {
	best := n.bases[0]
	for _, b := range n.bases {
		if height == 0 || b.Height <= height {
			best = b
		}
	}
	return best
}

func (n *Network) askOne(ctx context.Context, s *origin, r lightclient.Request, base verify.Pin, known *verify.Trust) (head, verify.Trust, error) {
	r.Pin = base.Height
	if known != nil {
		r.Known = known.Height
	}
	b, err := s.bundles.Bundle(ctx, r)
	if err != nil {
		return head{}, verify.Trust{}, err
	}
	v, err := bundle.Verify(b, bundle.Trust{Pin: base, Known: known, Rules: n.rules}, n.now())
	if err != nil {
		return head{}, verify.Trust{}, err
	}
	if r.At > 0 && v.Trust.Height != r.At {
		return head{}, verify.Trust{}, wire.Errorf(wire.Invalid, "it answered with height %d instead of %d", v.Trust.Height, r.At)
	}
	decoded, err := bundle.Decode(b)
	if err != nil {
		return head{}, verify.Trust{}, err
	}
	return head{decoded.Head(), v.Trust.Validators}, v.Trust, nil
}

// confirm asks the other sources for the same head, in turn until one has it. That
// none answers is nothing, but for [Network.Doubts]; that one has another head,
// properly signed, ends all trust.
func (n *Network) confirm(ctx context.Context, h head, others []*origin, base verify.Pin, known *verify.Trust) error {
	for _, s := range others {
		if s.fault != nil && n.now().Sub(s.since) < confirmPause {
			continue
		}
		one, cancel := context.WithTimeout(ctx, confirmPatience)
		other, _, err := n.askOne(one, s, lightclient.Request{At: h.Header.Height}, base, known)
		cancel()
		s.judge(n.now(), err)
		conflict := (*verify.ConflictError)(nil) // with what was verified before
		switch {
		case errors.As(err, &conflict):
		case err != nil:
			continue
		case other.Header.Hash() == h.Header.Hash():
			return nil
		}
		return wire.Errorf(wire.Conflict, "%s has another block of height %d than the others, and both are signed: validators of this chain broke its rules; do not join it before you know why (%w)",
			s.api.base, h.Header.Height, verify.ErrConflict)
	}
	return nil
}

const (
	// confirmPatience bounds the wait for another source.
	confirmPatience = 5 * time.Second
	// confirmPause is how long one is not asked again that failed: who joins asks for
	// dozens of heads.
	confirmPause = 15 * time.Second
)

// Doubt is a source whose last answer did not hold, or did not come.
type Doubt struct {
	Source string // its address
	Err    error
}

// Doubts returns the sources that were asked and confirm nothing now, in their
// order, and how many there are besides.
func (n *Network) Doubts() (doubts []Doubt, others int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sources {
		if s.fault != nil {
			doubts = append(doubts, Doubt{s.api.base, s.fault})
		}
	}
	return doubts, len(n.sources) - len(doubts)
}

// keep remembers a verified head.
func (n *Network) keep(h head, t verify.Trust) {
	if len(n.heads) >= maxHeads {
		clear(n.heads)
		n.trusts = n.trusts[len(n.trusts)-1:]
	}
	if _, ok := n.heads[t.Height]; ok {
		return
	}
	n.heads[t.Height] = h
	i := len(n.trusts)
	for i > 0 && n.trusts[i-1].Height > t.Height {
		i--
	}
	n.trusts = append(n.trusts[:i], append([]verify.Trust{t}, n.trusts[i:]...)...)
}
