package lightclient

import (
	"context"
	"fmt"
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
	Commit  *[32]byte // by its id
	Chain   bool
	At      uint64 // only the head of this height

	Devices bool   // with a handle or account: its devices too
	Serving bool   // with a handle or account: the entries of its concierges too
	Sponsor bool   // with an account: what it says and may do as a sponsor too
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

// Sponsor returns the proven entry of an account and its sponsor leaf: the key of
// its tickets, which everybody must have from here and not from the sponsor. The
// error is of kind NotFound if the account never declared one.
func (c *Client) Sponsor(ctx context.Context, id namesvc.AccountID, maxAge time.Duration) (namesvc.Entry, namesvc.Sponsor, Proof, error) {
	e, _, p, err := c.account(ctx, Request{Account: &id, Sponsor: true}, id, maxAge)
	if err != nil {
		return e, namesvc.Sponsor{}, p, err
	}
	s, err := sponsorLeaf(p.verified, id)
	if err != nil {
		err = &AnswerError{Proof: p, Err: err}
	}
	return e, s, p, err
}

func sponsorLeaf(v *bundle.Verified, id namesvc.AccountID) (namesvc.Sponsor, error) {
	b, err := v.Leaf(namesvc.SponsorKey(id))
	switch {
	case err != nil:
		return namesvc.Sponsor{}, fmt.Errorf("sponsor %v: %w", id, err)
	case b == nil:
		return namesvc.Sponsor{}, wire.Errorf(wire.NotFound, "account %v sponsors nobody", id)
	}
	s, err := namesvc.DecodeSponsor(b)
	if err != nil {
		return namesvc.Sponsor{}, wire.Errorf(wire.Invalid, "%w", err)
	}
	return s, nil
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

// Pin returns the pin that everything the client says stands on.
func (c *Client) Pin() verify.Pin { return c.pin }

// Newest returns a pin of the newest head that the client has verified, or what it
// began with: what to hand to somebody who begins now.
func (c *Client) Newest() verify.Pin {
	if known, err := c.trusted(); err == nil && known != nil && known.Height > c.pin.Height {
		return known.Pin()
	}
	return c.pin
}

// Sources returns the names of the sources, in the order in which they are asked.
func (c *Client) Sources() (names []string) {
	for _, s := range c.sources {
		names = append(names, s.Name())
	}
	return names
}

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
