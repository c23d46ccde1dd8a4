package concierge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// A control frame travels among those of package frame, on the same connection
// and in the same form: its kind, then an array. Its kinds are above all of
// theirs, so that each end tells them apart by the first byte.
const (
	kindRequest = 32
	kindAnswer  = 33
)

// headerOf returns how a control frame of a kind begins: the kind in CBOR.
func headerOf(kind byte) []byte { return []byte{0x18, kind} }

// An op is what a control request asks for. The numbers are frozen.
type op uint64

const (
	opQueues   op = 1 // what is kept for the account
	opCreate   op = 2
	opDelete   op = 3
	opUpload   op = 4 // KeyPackages of the asking device
	opCount    op = 5
	opFetch    op = 6 // a KeyPackage of somebody
	opKnock    op = 7
	opDescribe op = 8

	opForward    op = 16 // deliver what comes to where the account is now
	opForwarding op = 17 // how that stands
	opTokens     op = 18 // sign tokens blindly
	opIssuer     op = 19 // the key that they are signed with

	opPut         op = 32 // make room for a file and get a ticket to upload it
	opUnpin       op = 33 // let go of one
	opPins        op = 34 // those that are here
	opVault       op = 35 // where the vault is
	opVaultAppend op = 36
	opVaultTrim   op = 37
)

// String says what is done, for errors: ask concierge to ….
func (o op) String() string {
	for _, named := range []struct {
		op   op
		name string
	}{
		{opQueues, "list what it keeps"}, {opCreate, "make a queue"}, {opDelete, "delete a queue"},
		{opUpload, "keep key packages"}, {opCount, "count key packages"}, {opFetch, "give a key package"}, {opKnock, "take a knock"},
		{opDescribe, "describe itself"}, {opForward, "forward"}, {opForwarding, "say how forwarding stands"},
		{opTokens, "sign tokens"}, {opIssuer, "show its token key"},
		{opPut, "make room for a file"}, {opUnpin, "let go of a file"}, {opPins, "list files"},
		{opVault, "show the vault"}, {opVaultAppend, "add to the vault"}, {opVaultTrim, "trim the vault"},
	} {
		if named.op == o {
			return named.name
		}
	}
	return fmt.Sprintf("do operation %d", uint64(o))
}

type request struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Op     op
	Body   []byte
}

type answer struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Code   wire.Code
	Text   string
	Body   []byte
}

// The bodies of requests and answers.
type (
	// Kept is what a concierge keeps for an account.
	Kept struct {
		_      struct{} `cbor:",toarray"`
		Knocks stream.ID
		Queues []Queue
	}
	createBody struct {
		_       struct{} `cbor:",toarray"`
		Seed    Seed
		Entries uint64
		Bytes   uint64
		TTL     uint64
	}
	deleteBody struct {
		_  struct{} `cbor:",toarray"`
		ID stream.ID
	}
	uploadBody struct {
		_    struct{} `cbor:",toarray"`
		Once [][]byte
		Last []byte
	}
	// A PackageRequest asks for a KeyPackage of a device, with the address of a
	// queue of its account or else with work over the device's key.
	PackageRequest struct {
		_          struct{} `cbor:",toarray"`
		Account    namesvc.AccountID
		Generation uint32
		Device     key.Public
		Address    []byte // an Address, or empty
		Work       Work
	}
	// Package is the answer.
	Package struct {
		_    struct{} `cbor:",toarray"`
		Body []byte
		Last bool // it is the one of last resort, which others get too
	}
	// A Knock asks an account's owner to accept a contact. The body is sealed to
	// him; work is done over the body, unless a token pays.
	Knock struct {
		_          struct{} `cbor:",toarray"`
		Account    namesvc.AccountID
		Generation uint32
		Work       Work
		Body       []byte
		Token      []byte // of Token.Encode, in the place of work; or empty
	}
)

// decodeControl returns the control frame that b is, or false if b is none.
func decodeControl(b []byte, kind byte, v any) (bool, error) {
	if !bytes.HasPrefix(b, headerOf(kind)) {
		return false, nil
	}
	if err := wire.Decode(b[2:], v, frame.MaxFrame); err != nil {
		return true, fmt.Errorf("control frame: %w", err)
	}
	return true, nil
}

func encodeControl(kind byte, v any) []byte { return append(headerOf(kind), wire.Encode(v)...) }

// served is a server's end of a connection: control requests are answered on the
// way, in their order with all others, and never reach the frame server.
type served struct {
	frame.Conn
	handle func(request) answer
}

// ReadFrame implements frame.Conn.
func (c served) ReadFrame(limit int) ([]byte, error) {
	for {
		b, err := c.Conn.ReadFrame(limit)
		if err != nil {
			return nil, err
		}
		var r request
		if control, err := decodeControl(b, kindRequest, &r); !control {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		if err := c.WriteFrames([][]byte{encodeControl(kindAnswer, c.handle(r))}); err != nil {
			return nil, err
		}
	}
}

// asking is a client's end of a connection.
type asking struct {
	frame.Conn
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
}

// ReadFrame implements frame.Conn.
func (c *asking) ReadFrame(limit int) ([]byte, error) {
	for {
		b, err := c.Conn.ReadFrame(limit)
		if err != nil {
			return nil, err
		}
		var a answer
		if control, err := decodeControl(b, kindAnswer, &a); !control {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		c.mu.Lock()
		heard := c.waiting[a.Number]
		delete(c.waiting, a.Number)
		c.mu.Unlock()
		if heard != nil {
			heard <- a
		}
	}
}

// ask sends a control request and waits for its answer; gone ends when the
// connection does.
func (c *asking) ask(ctx context.Context, gone <-chan struct{}, o op, body, into any) error {
	heard := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	n := c.last
	c.waiting[n] = heard
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, n)
		c.mu.Unlock()
	}()
	b := encodeControl(kindRequest, request{Number: n, Op: o, Body: wire.Encode(body)})
	if len(b) > frame.MaxRequest {
		return wire.Errorf(wire.Invalid, "request has %d bytes: at most %d are allowed", len(b), frame.MaxRequest)
	}
	if err := c.WriteFrames([][]byte{b}); err != nil {
		return wire.Errorf(wire.Unavailable, "ask concierge to %v: %w", o, err)
	}
	select {
	case a := <-heard:
		if a.Code != 0 {
			return wire.Errorf(a.Code, "ask concierge to %v: %s", o, lightclient.Printable(a.Text))
		}
		if into == nil {
			return nil
		}
		if err := wire.Decode(a.Body, into, frame.MaxFrame); err != nil {
			return fmt.Errorf("ask concierge to %v: answer: %w", o, err)
		}
		return nil
	case <-gone:
		return wire.Errorf(wire.Unavailable, "ask concierge to %v: the connection has ended before the answer came: it may have been done", o)
	case <-ctx.Done():
		return wire.Errorf(wire.Unavailable, "ask concierge to %v: stopped before the answer came (%w): it may have been done", o, context.Cause(ctx))
	}
}

// controlCost is what a control request counts more than an append: most write
// to several streams.
const controlCost = 10

// handle does one control request.
func (s *Server) handle(c *session, r request) answer {
	var out any
	err := c.admit(controlCost)
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, askTime)
		out, err = s.do(ctx, c, r)
		cancel()
	}
	if err != nil {
		code, text := s.tell(err)
		return answer{Number: r.Number, Code: code, Text: text}
	}
	return answer{Number: r.Number, Body: wire.Encode(out)}
}

// tell returns what somebody is told of an error. Faults of ours go to the log.
func (s *Server) tell(err error) (wire.Code, string) {
	code := wire.CodeOf(err)
	if code == wire.Internal {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return wire.Unavailable, "concierge is too busy: try again; what was asked may have been done"
		}
		s.logger.Error("request", "error", err)
		return code, "concierge has a fault; its operator finds it in the log"
	}
	text := err.Error()
	return code, text[:min(len(text), maxText)]
}

// decodeBody parses the body of a request.
func decodeBody[T any](r request) (v T, err error) {
	if err := wire.Decode(r.Body, &v, frame.MaxRequest); err != nil {
		return v, wire.Errorf(wire.Invalid, "operation %d: %w", uint64(r.Op), err)
	}
	return v, nil
}

func (s *Server) do(ctx context.Context, c *session, r request) (any, error) {
	switch r.Op { // what anybody may
	case opFetch:
		q, err := decodeBody[PackageRequest](r)
		if err != nil {
			return nil, err
		}
		return s.fetch(ctx, c.network, q)
	case opKnock:
		k, err := decodeBody[Knock](r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.knock(ctx, c.network, k)
	case opDescribe:
		return s.descriptor(), nil
	case opIssuer:
		return s.tokens.issuer(ctx, epochOf(s.now()))
	}
	if c.guest {
		return nil, wire.Errorf(wire.Unauthorized, "guests have nothing here: connect as a device of the account")
	}
	return s.doOwn(ctx, c, r)
}

// doOwn does what a device asks for its own account.
func (s *Server) doOwn(ctx context.Context, c *session, r request) (any, error) {
	switch r.Op { // which ask the chain or many queues, and hold nobody up meanwhile
	case opForward:
		b, err := decodeBody[forwardBody](r)
		if err != nil {
			return nil, err
		}
		return s.orderForward(ctx, c, b)
	case opForwarding:
		return s.forwards.status(ctx, c.owner)
	}
	if !c.listed && (r.Op == opCreate || r.Op == opUpload || r.Op == opTokens) {
		return nil, wire.Errorf(wire.Unauthorized, "the account names another concierge now: this one only gives out what it still has")
	}
	defer s.hold(c.owner)()
	switch r.Op {
	case opQueues:
		rec, _, err := readRecord(ctx, s.store, c.owner)
		if err != nil {
			return nil, err
		}
		c.record = rec
		return Kept{Knocks: c.owner.Knocks(), Queues: rec.Queues}, nil
	case opCreate:
		b, err := decodeBody[createBody](r)
		if err != nil {
			return nil, err
		}
		q, rec, err := createQueue(ctx, s.store, c.owner, b.Seed, Queue{Entries: b.Entries, Bytes: b.Bytes, TTL: b.TTL}, s.limits)
		if err != nil {
			return nil, err
		}
		c.record = rec
		return q, nil
	case opDelete:
		b, err := decodeBody[deleteBody](r)
		if err != nil {
			return nil, err
		}
		rec, err := deleteQueue(ctx, s.store, c.owner, b.ID)
		if err == nil {
			c.record = rec
		}
		return struct{}{}, err
	case opUpload:
		b, err := decodeBody[uploadBody](r)
		if err != nil {
			return nil, err
		}
		return uploadPackages(ctx, s.store, s.shelf(c.owner), c.device, b.Once, b.Last)
	case opTokens:
		b, err := decodeBody[tokensBody](r)
		if err != nil {
			return nil, err
		}
		return s.tokens.issue(ctx, c.owner, b)
	case opCount:
		return countPackages(ctx, s.store, s.shelf(c.owner), c.device)
	case opPut, opUnpin, opPins, opVault, opVaultAppend, opVaultTrim:
		return s.doExtras(ctx, c, r)
	}
	return nil, wire.Errorf(wire.Invalid, "operation %d is unknown", r.Op)
}

// knock admits a first contact.
func (s *Server) knock(ctx context.Context, network [32]byte, k Knock) error {
	if len(k.Body) == 0 || len(k.Body) > MaxKnock {
		return wire.Errorf(wire.Invalid, "knock has %d bytes: 1 to %d are allowed", len(k.Body), MaxKnock)
	}
	to := OwnerOf(k.Account, k.Generation)
	if _, err := s.store.State(ctx, to.Knocks()); errors.Is(err, stream.ErrNotFound) {
		return wire.Errorf(wire.NotFound, "concierge keeps no mail for this account: resolve its handle again")
	} else if err != nil {
		return err
	}
	if s.forwards.left(to) {
		return ErrMoved
	}
	if len(k.Token) > 0 {
		err := s.tokens.redeem(ctx, network, to, k)
		s.figures.tokens.WithLabelValues(taking(err)).Inc()
		if err != nil {
			return err
		}
	} else if err := s.checkWork(ctx, network, forKnock, to, k.Work, k.Body); err != nil {
		s.figures.refused.WithLabelValues("work").Inc()
		return err
	}
	// The same knock sent again is the same entry.
	sum := challenge(s.me, forKnock, to, k.Work.Period, k.Body)
	_, err := stream.Append(ctx, s.store, to.Knocks(), stream.Message{ID: stream.MessageID(sum[:16]), Body: k.Body})
	if err == nil {
		s.figures.knocks.Inc()
	}
	return err
}

// fetch gives out a KeyPackage, to whoever has the address of a queue of the
// account or has worked for it.
func (s *Server) fetch(ctx context.Context, network [32]byte, q PackageRequest) (Package, error) {
	of := OwnerOf(q.Account, q.Generation)
	if s.forwards.left(of) {
		return Package{}, ErrMoved
	}
	var m stream.MessageID
	switch {
	case len(q.Address) == len(Address{}):
		rec, _, err := readRecord(ctx, s.store, of)
		queue := Address(q.Address).Queue()
		mine := func(q Queue) bool { return q.ID == queue }
		if err != nil && !errors.Is(err, stream.ErrNotFound) {
			return Package{}, err
		}
		if !slices.ContainsFunc(rec.Queues, mine) {
			return Package{}, wire.Errorf(wire.Unauthorized, "this is the address of no queue of the account")
		}
		if !s.queueRate.take(queue, packageCost, s.now()) {
			s.figures.refused.WithLabelValues("queue").Inc()
			return Package{}, errQueueRate
		}
		m = newMessageID()
	case len(q.Address) == 0:
		if err := s.checkWork(ctx, network, forPackage, of, q.Work, q.Device[:]); err != nil {
			s.figures.refused.WithLabelValues("work").Inc()
			return Package{}, err
		}
		m = spent(challenge(s.me, forPackage, of, q.Work.Period, q.Device[:]), q.Work)
	default:
		return Package{}, wire.Errorf(wire.Invalid, "address must have %d bytes or none", len(Address{}))
	}
	defer s.hold(of)()
	b, last, err := takePackage(ctx, s.store, s.shelf(of), q.Device, m)
	if err != nil {
		return Package{}, err
	}
	s.figures.packages.WithLabelValues(map[bool]string{false: "once", true: "last"}[last]).Inc()
	return Package{Body: b, Last: last}, nil
}

// packageCost is what a KeyPackage counts at a queue's rate: a contact needs one
// for each device and conversation, not one for each message.
const packageCost = 20
