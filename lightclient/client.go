package lightclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Request is a question to a source. Exactly one of the first five fields is
// set.
type Request struct {
	Handle  namesvc.Handle
	Account *namesvc.AccountID
	Commit  *[32]byte
	Chain   bool
	At      uint64 // only the head of this height

	Devices bool   // with a handle or account: its devices too
	Serving bool   // with a handle or account: the entries of its concierges too
	Known   uint64 // height of a head that the asker has verified, or 0
	Pin     uint64 // height of the asker's pin
	After   uint64 // wait a while for a head above this height
}

// Source gives out bundles. It may lie, stall and replay: what it returns is
// verified, and its errors are only reasons to ask another.
type Source interface {
	// Name tells sources apart in messages: an address.
	Name() string
	// Bundle returns an encoded bundle that answers the request.
	Bundle(ctx context.Context, r Request) ([]byte, error)
}

// Submitter passes ops on to the chain.
type Submitter interface {
	// Submit hands an op to a mempool. Nil means that it was taken, not that it
	// will be in a block. A refusal by the law is a *RejectError; kinds
	// Exhausted and Unavailable mean to try again.
	Submit(ctx context.Context, op []byte) error
}

// RejectError is a source's word that the law refuses an op. It is not proven.
type RejectError struct {
	Code namesvc.RejectCode
	Text string
}

func (e *RejectError) Error() string { return e.Text }

// Unwrap gives the error its kind.
func (e *RejectError) Unwrap() error { return &wire.Error{Code: e.Code.Kind(), Text: e.Text} }

// Resolver is what the rest of confab needs of a name: its proven meaning.
type Resolver interface {
	// Resolve returns what h means, in a proof no older than maxAge (0 for
	// DefaultMaxAge). Errors: kind NotFound if h is proven not to be
	// registered, retired, or only confusable with a registered one; Stale if
	// no source has a fresh answer; Conflict if the chain contradicts itself;
	// Unavailable if no source answers truthfully, now; Invalid if every
	// answer was refused, as with a pin of another chain.
	Resolve(ctx context.Context, h namesvc.Handle, maxAge time.Duration) (*Resolution, error)
}

// DefaultMaxAge is how old an answer may be if the caller does not say: a
// concierge that was left a minute ago may still get a message, not longer.
const DefaultMaxAge = time.Minute

// Config is what a client is made of.
type Config struct {
	Pin     verify.Pin
	Rules   verify.Rules     // zero for verify.DefaultRules
	Sources []Source         // at least one, tried in this order
	Store   TrustStore       // nil keeps trust in memory only
	Now     func() time.Time // nil for time.Now
}

// Client is a light client of one chain. It is safe for concurrent use.
type Client struct {
	pin     verify.Pin
	rules   verify.Rules
	sources []Source
	store   TrustStore
	now     func() time.Time

	mu     sync.Mutex
	known  *verify.Trust
	poison error // evidence of a conflict: nothing is believed any more
}

// New returns a client that starts from the configured pin, or from what its
// store has verified from that pin before. The error is of kind Conflict if the
// store holds evidence that the chain contradicted itself.
func New(c Config) (*Client, error) {
	if len(c.Sources) == 0 {
		return nil, wire.Errorf(wire.Invalid, "light client: it has no source to ask; add one to the network")
	}
	for i, s := range c.Sources {
		for _, other := range c.Sources[:i] {
			if s.Name() == other.Name() {
				// It would confirm itself.
				return nil, wire.Errorf(wire.Invalid, "light client: the source %s is listed twice", s.Name())
			}
		}
	}
	if c.Rules == (verify.Rules{}) {
		c.Rules = verify.DefaultRules()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Store == nil {
		c.Store = &MemStore{}
	}
	client := &Client{pin: c.Pin, rules: c.Rules, sources: c.Sources, store: c.Store, now: c.Now}
	known, err := c.Store.Load(c.Pin)
	if err != nil {
		return nil, err
	}
	client.known = known
	return client, nil
}

// Resolution is a proven answer about a handle.
type Resolution struct {
	namesvc.Meaning
	Proof
}

// Proof is how an answer is known.
type Proof struct {
	Height    uint64           // of the head it is proven under
	Time      time.Time        // of that head
	Age       time.Duration    // when it was verified
	Pin       verify.Pin       // what the proof stands on
	Assurance bundle.Assurance // how sure it is
	Source    string           // who handed it over
	Agree     []string         // other sources that know the same head
	Notes     []string         // what went wrong on the way, for people
	Bundle    []byte           // the proof itself, for others to verify

	verified *bundle.Verified
	from     *verify.Trust // what it was verified from, nil for the pin
}

// Serving returns the entry of one of the account's concierges, which the proof
// of a handle or account carries along.
func (p Proof) Serving(c namesvc.Concierge) (namesvc.Entry, error) {
	return p.verified.Account(c.Account)
}

// Resolve implements Resolver.
func (c *Client) Resolve(ctx context.Context, h namesvc.Handle, maxAge time.Duration) (*Resolution, error) {
	p, err := c.ask(ctx, Request{Handle: h, Serving: true}, maxAge)
	if err != nil {
		return nil, fmt.Errorf("resolve %v: %w", h, err)
	}
	m, err := p.verified.Handle(h)
	if err != nil {
		return nil, &AnswerError{Proof: p, Err: err}
	}
	return &Resolution{Meaning: m, Proof: p}, nil
}

// AnswerError is an answer that is proven and not what was hoped for: a handle
// that does not exist, an account that is not on the chain.
type AnswerError struct {
	Proof Proof
	Err   error
}

func (e *AnswerError) Error() string { return e.Err.Error() }

// Unwrap returns the answer.
func (e *AnswerError) Unwrap() error { return e.Err }

// Account returns the proven entry of an account.
func (c *Client) Account(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, Proof, error) {
	e, _, p, err := c.account(ctx, Request{Account: &id, Serving: true}, id, maxAge)
	return e, p, err
}

// Devices returns the proven entry and device list of an account.
func (c *Client) Devices(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, namesvc.Devices, Proof, error) {
	return c.account(ctx, Request{Account: &id, Devices: true}, id, maxAge)
}

func (c *Client) account(ctx context.Context, r Request, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, namesvc.Devices, Proof, error) {
	p, err := c.ask(ctx, r, maxAge)
	if err != nil {
		return namesvc.Entry{}, namesvc.Devices{}, Proof{}, fmt.Errorf("read account %v: %w", id, err)
	}
	e, err := p.verified.Account(id)
	var d namesvc.Devices
	if err == nil && r.Devices {
		d, err = p.verified.Devices(id)
	}
	if err != nil {
		err = &AnswerError{Proof: p, Err: err}
	}
	return e, d, p, err
}

// ChainInfo is what one must know of a chain to make ops for it.
type ChainInfo struct {
	Params     namesvc.Params
	Meter      namesvc.Meter
	Checkpoint namesvc.Checkpoint // the newest
	Proof      Proof
}

// Chain returns the chain's parameters, counters and newest checkpoint.
func (c *Client) Chain(ctx context.Context) (ChainInfo, error) {
	p, err := c.ask(ctx, Request{Chain: true}, 0)
	if err != nil {
		return ChainInfo{}, fmt.Errorf("read the chain's parameters: %w", err)
	}
	info, err := chainInfo(p.verified)
	info.Proof = p
	return info, err
}

func chainInfo(v *bundle.Verified) (info ChainInfo, err error) {
	if info.Params, err = leaf(v, namesvc.ParamsKey(), namesvc.DecodeParams); err != nil {
		return ChainInfo{}, err
	}
	if info.Meter, err = leaf(v, namesvc.MeterKey(), namesvc.DecodeMeter); err != nil {
		return ChainInfo{}, err
	}
	info.Checkpoint, err = leaf(v, namesvc.CheckpointKey(info.Meter.Checkpoint), namesvc.DecodeCheckpoint)
	return info, err
}

// leaf returns a leaf that every state has.
func leaf[T any](v *bundle.Verified, k namesvc.Key, decode func([]byte) (T, error)) (T, error) {
	var zero T
	b, err := v.Leaf(k)
	if err != nil {
		return zero, err
	}
	if b == nil {
		return zero, wire.Errorf(wire.Invalid, "the state lacks what every state has")
	}
	out, err := decode(b)
	if err != nil {
		return zero, wire.Errorf(wire.Invalid, "%w", err)
	}
	return out, nil
}

// ask puts a request to the sources, in an answer no older than maxAge (0 for
// DefaultMaxAge).
func (c *Client) ask(ctx context.Context, r Request, maxAge time.Duration) (Proof, error) {
	known, err := c.trusted()
	if err != nil {
		return Proof{}, err
	}
	return c.askFrom(ctx, known, r, maxAge)
}

// askFrom is ask with what the answer must stand on: a head that the client has
// verified, or nil for the pin. It takes the first answer that holds and has
// another source confirm its head.
func (c *Client) askFrom(ctx context.Context, known *verify.Trust, r Request, maxAge time.Duration) (Proof, error) {
	if maxAge <= 0 {
		maxAge = DefaultMaxAge
	}
	p, others, err := c.first(ctx, known, r, maxAge)
	if err != nil {
		return Proof{}, err
	}
	if err := c.crossCheck(ctx, &p, others); err != nil {
		return Proof{}, err
	}
	return p, c.advance(&p)
}

// first returns the first answer that holds, and the sources that can still be
// asked whether they know its head: those that have not been found silent or
// wrong. An answer from before what is known holds too, but a source that
// replays one must not keep newer ones away: the others are heard first.
func (c *Client) first(ctx context.Context, known *verify.Trust, r Request, maxAge time.Duration) (Proof, []Source, error) {
	turns, cancel := context.WithCancel(ctx)
	defer cancel()
	var older *Proof
	var behind []Source
	var notes []string
	var failures []error
	heard := make([]bool, len(c.sources))
	for i, got := range inTurn(turns, len(c.sources), patience, func(ctx context.Context, i int) (Proof, error) {
		return c.askOne(ctx, c.sources[i], known, r, maxAge)
	}) {
		heard[i] = true
		p, err := got.value, got.err
		var conflict *verify.ConflictError
		switch {
		case errors.As(err, &conflict):
			return Proof{}, nil, c.condemn(p, conflict)
		case err != nil:
			f := &failure{c.sources[i].Name(), err}
			failures, notes = append(failures, f), append(notes, f.Error())
			continue
		case known != nil && p.Height < known.Height:
			notes = append(notes, fmt.Sprintf("%s answered with height %d, although %d is known", p.Source, p.Height, known.Height))
			behind = append(behind, c.sources[i])
			if older == nil || older.Height < p.Height {
				older = &p
			}
			time.AfterFunc(patience, cancel) // there is an answer; the others get a moment
			continue
		}
		for j, s := range c.sources[:i] {
			if !heard[j] {
				notes = append(notes, fmt.Sprintf("%s has not answered within %v", s.Name(), patience))
			}
		}
		p.Notes = notes
		return p, append(c.sources[i+1:len(c.sources):len(c.sources)], behind...), nil
	}
	switch {
	case older != nil:
		older.Notes = notes
		others := slices.DeleteFunc(behind, func(s Source) bool { return s.Name() == older.Source })
		return *older, others, nil
	case ctx.Err() != nil:
		return Proof{}, nil, wire.Errorf(wire.Unavailable, "no answer in time: %w", ctx.Err())
	}
	return Proof{}, nil, summary(failures)
}

// summary turns the failures of all sources into one error. Its kind is Stale if
// one had only an old answer, and Invalid only if no source can be expected to
// do better: what a liar says must not make a caller give up on the others.
func summary(failures []error) error {
	code, refused := wire.Unavailable, 0
	for _, err := range failures {
		switch wire.CodeOf(err) {
		case wire.Stale:
			code = wire.Stale
		case wire.Invalid:
			refused++
		}
	}
	if refused == len(failures) {
		code = wire.Invalid
	}
	return wire.Errorf(code, "no source gave a proof that holds: %w", errors.Join(failures...))
}

// askOne puts a request to one source and verifies the answer. With the error of
// an answer that was refused comes a Proof that says where it is from and what
// it was, unproven.
func (c *Client) askOne(ctx context.Context, s Source, known *verify.Trust, r Request, maxAge time.Duration) (Proof, error) {
	r.Pin = c.pin.Height
	if known != nil {
		r.Known = known.Height
	}
	b, err := s.Bundle(ctx, r)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Source: s.Name(), Bundle: b, from: known}
	v, err := bundle.Verify(b, bundle.Trust{Pin: c.pin, Known: known, Rules: c.rules, MaxAge: maxAge}, c.now())
	if err != nil {
		return p, err
	}
	if err := answers(r, v); err != nil {
		return p, err
	}
	p.Height, p.Time, p.Age, p.Pin, p.Assurance, p.verified = v.Trust.Height, v.Time, v.Age, v.Pin, v.Assurance, v
	return p, nil
}

// answers reports why a bundle that holds is no answer to the request. Whoever
// can give out true bundles could else keep the truth away by giving out others.
func answers(r Request, v *bundle.Verified) error {
	var err error
	var e namesvc.Entry
	switch {
	case r.At > 0 && v.Trust.Height != r.At:
		return wire.Errorf(wire.Invalid, "it answered with height %d instead of %d", v.Trust.Height, r.At)
	case r.After > 0 && v.Trust.Height <= r.After:
		return wire.Errorf(wire.Unavailable, "it answered with height %d, which is not above %d", v.Trust.Height, r.After)
	case r.Handle != "":
		var m namesvc.Meaning
		m, err = v.Handle(r.Handle)
		e = m.Entry
	case r.Account != nil:
		e, err = v.Account(*r.Account)
	case r.Commit != nil:
		_, err = v.Leaf(namesvc.CommitKey(*r.Commit))
	case r.Chain:
		_, err = chainInfo(v)
	}
	if err == nil && r.Devices {
		_, err = v.Devices(e.Account)
	}
	for _, s := range e.Records.Concierges {
		if err == nil && r.Serving {
			_, err = v.Leaf(namesvc.AccountKey(s.Account))
		}
	}
	if wire.CodeOf(err) == wire.NotFound {
		return nil // proven, and an answer
	}
	return err
}

// trusted returns what the client has verified so far.
func (c *Client) trusted() (*verify.Trust, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known, c.poison
}

// advance keeps a newer head. That it cannot be stored is only a note: the
// answer holds, and the next one stores a newer one.
func (c *Client) advance(p *Proof) error {
	c.mu.Lock()
	known, poison, t := c.known, c.poison, p.verified.Trust
	newer := poison == nil && (known == nil || known.Height < t.Height)
	if newer {
		c.known = &t
		if err := c.store.Save(c.pin, t); err != nil {
			p.Notes = append(p.Notes, Printable(fmt.Sprintf("the verified head could not be kept for the next time: %v", err)))
		}
	}
	c.mu.Unlock()
	switch {
	case poison != nil:
		return poison
	case !newer && known.Height == t.Height && known.Hash != t.Hash:
		return c.contradict(*p, *known) // verified by another call meanwhile
	}
	return nil
}

// Pin returns the pin that everything the client says stands on.
func (c *Client) Pin() verify.Pin { return c.pin }

// Portable resolves a handle in a proof that whoever has the pin can verify
// alone: it begins at the pin and not at what this client has verified since,
// and it holds the entries of the concierges too.
func (c *Client) Portable(ctx context.Context, h namesvc.Handle, devices bool) (*Resolution, error) {
	if _, err := c.trusted(); err != nil {
		return nil, fmt.Errorf("prove %v: %w", h, err)
	}
	p, err := c.askFrom(ctx, nil, Request{Handle: h, Devices: devices, Serving: true}, 0)
	if err != nil {
		return nil, fmt.Errorf("prove %v: %w", h, err)
	}
	m, err := p.verified.Handle(h)
	if err != nil {
		return nil, &AnswerError{Proof: p, Err: err}
	}
	return &Resolution{Meaning: m, Proof: p}, nil
}
