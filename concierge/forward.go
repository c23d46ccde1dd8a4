package concierge

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// TagForwardSeal: the key under which an order to forward is kept, made of the
// seed of the server key. The addresses in it are rights to write, which a store
// that was stolen must not give.
const TagForwardSeal wire.Tag = "confab/concierge-forward-seal/1\n"

const (
	// MaxForward is the longest that a former concierge forwards. Message ids are
	// known for at least as long, so a message that is delivered a second time,
	// because a crash came before it was trimmed, is not a second message.
	MaxForward = stream.Remember
	// keepMoved is how long writers are told afterwards that the owner has moved.
	// Then his queues go, and they are told that there is no such stream.
	keepMoved = 60 * 24 * time.Hour
	// leaveFor is how long queues of an account that moved take messages while
	// nobody has said what shall become of them: his devices need a moment to do so.
	leaveFor = 10 * time.Minute
	// linger is how long after the end writers are put off rather than told to go
	// on elsewhere while messages before theirs are still under way, so that
	// theirs do not come first.
	linger = 5 * time.Minute
	// maxMoved is how many queues of accounts that moved are known at once: about
	// 20 MB. What is more is left to the senders' own look at the chain.
	maxMoved = 1 << 17
	// orderRate and orderBurst are the changes that one account may make to what
	// shall be forwarded, in a second and at once: each is kept for months.
	orderRate  = 1.0 / 300
	orderBurst = 20
)

// ErrMoved says to writers that the owner of a queue has another concierge now:
// look the account up again. It is of kind Stale; [Moved] recognises it.
var ErrMoved error = wire.Errorf(wire.Stale, "the owner has moved: look the account up again")

// errMoving puts a writer off whose earlier messages are still under way.
var errMoving error = wire.Errorf(wire.Unavailable, "the owner is moving, and earlier messages are under way: try again in a minute")

// Moved reports whether an error of an append, a knock or a KeyPackage says that
// the owner has another concierge now.
func Moved(err error) bool {
	return wire.CodeOf(err) == wire.Stale && strings.HasSuffix(err.Error(), ErrMoved.Error())
}

// A ForwardOrder asks a former concierge to deliver what is written to an
// account's queues to the one that the account has now.
type ForwardOrder struct {
	// To is one of the concierges that the account's entry names; zero asks to
	// forward no longer.
	To namesvc.AccountID
	// Until is when writers are told that the owner has moved. What came before
	// is delivered still. Later than MaxForward from now counts as that.
	Until time.Time
	// Addresses are those of the queues here; the queues of the same addresses
	// are written to there. Those of no queue here are left out.
	Addresses []Address
}

// Forwarding is how it stands.
type Forwarding struct {
	_         struct{}          `cbor:",toarray"`
	To        namesvc.AccountID // zero: nothing is forwarded
	Until     uint64            // Unix seconds; 0: this concierge knows nothing of a move
	Queues    uint64            // that are forwarded
	Waiting   uint64            // messages in them
	Delivered uint64            // messages, since the order or the concierge's last start
	Error     string            // why the last attempt failed, empty if it did not
}

type forwardBody struct {
	_         struct{} `cbor:",toarray"`
	To        namesvc.AccountID
	Until     uint64
	Addresses []Address
}

// Forward asks a former concierge to forward; the order replaces the one before
// and survives everything but the loss of the concierge's server key. It is safe
// to repeat. An error of kind Unavailable says that the concierge does not know
// of the move yet.
func (c *Client) Forward(ctx context.Context, o ForwardOrder) (Forwarding, error) {
	b := forwardBody{To: o.To, Addresses: o.Addresses}
	if !o.Until.IsZero() {
		b.Until = uint64(max(o.Until.Unix(), 0))
	}
	var f Forwarding
	return f, c.ask(ctx, opForward, b, &f)
}

// Forwarding says how the forwarding of this account stands.
func (c *Client) Forwarding(ctx context.Context) (Forwarding, error) {
	var f Forwarding
	return f, c.ask(ctx, opForwarding, struct{}{}, &f)
}

// order is what is kept of an account that moved: sealed, one stream entry,
// replaced as a whole.
type order struct {
	_         struct{}          `cbor:",toarray"`
	Version   uint64            // 1
	Height    uint64            // of the proof that the account had moved
	To        namesvc.AccountID // zero: nowhere
	Given     uint64            // Unix seconds
	Until     uint64
	Addresses []Address
}

func (o order) end() time.Time  { return time.Unix(int64(o.Until), 0) }
func (o order) last() time.Time { return time.Unix(int64(o.Given), 0).Add(MaxForward) }

// over reports whether even writers need not be told any more.
func (o order) over(now time.Time) bool { return now.After(o.end().Add(keepMoved)) }

// sealer seals what a store is not to know, under a key that all processes of the
// service have.
type sealer struct{ aead cipher.AEAD }

func newSealer(tag wire.Tag, seed [key.SeedSize]byte) sealer {
	k := tag.Sum(seed[:])
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		panic(err) // the key has the size
	}
	return sealer{aead}
}

// seed returns what the server key was made of.
func (s signer) seed() [key.SeedSize]byte { return [key.SeedSize]byte(s.secret.Seed()) }

// String keeps the key out of logs.
func (sealer) String() string { return "sealer" }

// seal seals b for one place.
func (s sealer) seal(rand io.Reader, place [32]byte, b []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, fmt.Errorf("seal: read randomness: %w", err)
	}
	return s.aead.Seal(nonce, nonce, b, place[:]), nil
}

// open returns what was sealed for a place.
func (s sealer) open(place [32]byte, b []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(b) < n {
		return nil, errors.New("sealed text is damaged")
	}
	text, err := s.aead.Open(nil, b[:n], b[n:], place[:])
	if err != nil {
		return nil, errors.New("sealed text is of another server key, or damaged")
	}
	return text, nil
}

func openOrder(s sealer, owner Owner, b []byte) (order, error) {
	var o order
	text, err := s.open(owner, b)
	if err != nil {
		return o, fmt.Errorf("read order to forward: %w", err)
	}
	if err := wire.Decode(text, &o, stream.MaxBody); err != nil {
		return o, fmt.Errorf("read order to forward: %w", err)
	}
	if o.Version != 1 || len(o.Addresses) > MaxQueues {
		return o, fmt.Errorf("read order to forward: version %d with %d addresses is none of ours", o.Version, len(o.Addresses))
	}
	return o, nil
}

// forwardsIndex is the stream that lists the owners whose order has changed, so
// that all servers of one store know of it, and each at its start.
func forwardsIndex() stream.ID { return TagKept.Sum([]byte{keptForward}) }

// indexTTL is how long the index knows of an order.
const indexTTL = MaxForward + keepMoved + 24*time.Hour

// orderForward does what Client.Forward asks.
func (s *Server) orderForward(ctx context.Context, c *session, b forwardBody) (Forwarding, error) {
	if len(b.Addresses) > MaxQueues {
		return Forwarding{}, wire.Errorf(wire.Invalid, "order names %d queues: at most %d are allowed", len(b.Addresses), MaxQueues)
	}
	now := s.now()
	if b.To != (namesvc.AccountID{}) && b.Until <= uint64(now.Unix()) {
		return Forwarding{}, wire.Errorf(wire.Invalid, "order ends before it begins: until must be later than now")
	}
	height, err := s.checkMove(ctx, c, b.To)
	if err != nil {
		return Forwarding{}, err
	}
	defer s.hold(c.owner)()
	rec, _, err := readRecord(ctx, s.store, c.owner)
	if err != nil {
		return Forwarding{}, err
	}
	c.record = rec
	o := order{Version: 1, Height: height, To: b.To, Given: uint64(now.Unix())}
	o.Until = min(b.Until, uint64(now.Add(MaxForward).Unix()))
	if b.To == (namesvc.AccountID{}) {
		o.Until = uint64(now.Unix())
	}
	for _, a := range b.Addresses {
		id := a.Queue()
		if slices.ContainsFunc(rec.Queues, func(q Queue) bool { return q.ID == id }) && !slices.Contains(o.Addresses, a) {
			o.Addresses = append(o.Addresses, a)
		}
	}
	if before, known := s.forwards.order(c.owner); !known || !before.same(o) {
		if !s.forwards.changes.take(c.owner, 1, now) {
			return Forwarding{}, wire.Errorf(wire.Exhausted, "too many orders to forward: repeat this one in some minutes")
		}
		if err := s.forwards.put(ctx, c.owner, o); err != nil {
			return Forwarding{}, err
		}
	}
	return s.forwards.status(ctx, c.owner)
}

// same reports whether an order asks nothing new.
func (o order) same(other order) bool {
	return o.To == other.To && o.Until == other.Until && slices.Equal(o.Addresses, other.Addresses)
}

// checkMove asks the chain whether the account has moved, and to there, and
// returns the height at which it had.
func (s *Server) checkMove(ctx context.Context, c *session, to namesvc.AccountID) (uint64, error) {
	e, d, p, err := s.members.chain.Devices(ctx, c.account, 0)
	if err != nil {
		return 0, wire.Errorf(wire.Unavailable, "ask the chain about the account: %w", err)
	}
	e = e.At(uint64(p.Time.Unix()))
	stand := standingOf(s.me, e, d, s.now())
	switch {
	case OwnerOf(stand.account, stand.generation) != c.owner:
		return 0, wire.Errorf(wire.Unauthorized, "the account has a new generation: connect again")
	case stand.listed:
		return 0, wire.Errorf(wire.Unavailable, "the account names this concierge at height %d: change its entry, or try again when the block is there", p.Height)
	}
	named := func(c namesvc.Concierge) bool { return c.Account == to }
	if to != (namesvc.AccountID{}) && !slices.ContainsFunc(e.Records.Concierges, named) {
		return 0, wire.Errorf(wire.Invalid, "the account's entry names no such concierge at height %d: messages are forwarded only to one that it names", p.Height)
	}
	return p.Height, nil
}

// put makes an order durable, and known to all servers of the store.
func (f *forwards) put(ctx context.Context, owner Owner, o order) error {
	body, err := f.sealer.seal(f.server.rand, owner, wire.Encode(o))
	if err != nil {
		return err
	}
	id := owner.kept(keptForward, nil)
	if err := f.server.store.Configure(ctx, id, stream.Settings{}); err != nil {
		return err
	}
	for range maxTries {
		_, head, err := newest(ctx, f.server.store, id)
		if err != nil {
			return err
		}
		var moved *stream.HeadError
		if _, err = replace(ctx, f.server.store, id, head, newMessageID(), body); errors.As(err, &moved) {
			continue
		} else if err != nil {
			return err
		}
		return f.announce(ctx, owner)
	}
	return errBusy
}

// announce has all servers look at an owner's order again, this one now.
func (f *forwards) announce(ctx context.Context, owner Owner) error {
	m := stream.Message{ID: newMessageID(), Body: bytes.Clone(owner[:])}
	if _, err := stream.Append(ctx, f.server.store, forwardsIndex(), m); err != nil {
		return err
	}
	return f.reload(ctx, owner)
}

// stands is told how an account stands that is connected. One that left has its
// queues closed after a while, and one that came back is as if it never had
// left. The owner is held.
func (f *forwards) stands(ctx context.Context, owner Owner, who standing) error {
	o, known := f.order(owner)
	switch {
	case who.listed && known && who.height > o.Height:
		if err := f.server.store.Delete(ctx, owner.kept(keptForward, nil)); err != nil {
			return err
		}
		return f.announce(ctx, owner)
	case !who.listed && !known:
		now := f.server.now()
		return f.put(ctx, owner, order{Version: 1, Height: who.height, Given: uint64(now.Unix()), Until: uint64(now.Add(leaveFor).Unix())})
	}
	return nil
}

// forget lets go of all that is kept for an owner who left long ago.
func (f *forwards) forget(ctx context.Context, owner Owner) error {
	defer f.server.hold(owner)()
	store := f.server.store
	r, _, err := readRecord(ctx, store, owner)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	ids := []stream.ID{owner.Vault(), owner.kept(keptPins, nil), owner.Knocks(), owner.kept(keptRecord, nil), owner.kept(keptForward, nil)}
	for _, q := range r.Queues {
		ids = append([]stream.ID{q.ID}, ids...) // what names the others goes last
	}
	for _, d := range r.Devices {
		if err := forgetPackages(ctx, store, f.server.shelf(owner), key.Public(d)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := store.Delete(ctx, id); err != nil {
			return err
		}
	}
	f.drop(owner)
	return nil
}
