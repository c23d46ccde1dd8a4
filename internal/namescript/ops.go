package namescript

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// prepared is a registration that waits for its reveal.
type prepared struct{ op []byte }

// build makes the bytes that a line sends.
func (r *Runner) build(l Line) ([]byte, error) {
	switch l.Verb {
	case "raw":
		return unhex(l.Args[0])
	case "replay":
		op, ok := r.named[l.Args[0]]
		if !ok {
			return nil, fmt.Errorf("no op has the name %s; give it one with as=", l.Args[0])
		}
		return r.remake(op, l)
	case "reveal":
		p, ok := r.prepared[l.Args[0]]
		if !ok {
			return nil, fmt.Errorf("%s has not committed to anything", l.Args[0])
		}
		return p.op, nil
	}
	a, err := r.who(l.Args[0])
	if err != nil {
		return nil, err
	}
	if l.Verb == "commit" {
		return r.commit(a, l)
	}
	kind, body, err := r.body(a, l)
	if err != nil {
		return nil, err
	}
	return r.sign(a, kind, body, l)
}

// body makes the body of an op on an account that is on the chain.
func (r *Runner) body(a *actor, l Line) (namesvc.OpKind, any, error) {
	switch l.Verb {
	case "records":
		rec, err := r.records(a, l)
		return namesvc.OpRecords, rec, err
	case "devices":
		d, err := r.deviceList(a, l)
		return namesvc.OpDevices, d, err
	case "roots":
		d, err := r.rootList(a, l)
		return namesvc.OpRoots, d, err
	case "operate":
		d, err := r.offer(a, l)
		return namesvc.OpOperate, d, err
	case "vote":
		d, err := r.ballot(l)
		return namesvc.OpVote, d, err
	case "sponsor":
		d, err := r.sponsorship(a, l)
		return namesvc.OpSponsor, d, err
	case "renew":
		return namesvc.OpRenew, namesvc.Renewal{}, nil
	case "release":
		return namesvc.OpRelease, namesvc.Release{Handle: spelled(l.Args[1])}, nil
	case "cancel":
		id, err := r.pendingOp(a, l)
		return namesvc.OpCancel, namesvc.Cancel{Op: id}, err
	}
	return 0, nil, fmt.Errorf("%s is no op", l.Verb)
}

// spelled takes a handle as it stands, so that scripts can send bad ones.
func spelled(word string) namesvc.Handle { return namesvc.Handle(strings.TrimPrefix(word, "@")) }

// position returns where the account stands, with what waits in the queue.
func (r *Runner) position(a *actor) (position, error) {
	if p, ok := r.ahead[a.id]; ok {
		return p, nil
	}
	e, err := r.entry(a.id)
	if err != nil || e == nil {
		return position{0, a.id}, err
	}
	return position{e.Seq, e.LastOp}, nil
}

// sign completes an op and signs it.
func (r *Runner) sign(a *actor, kind namesvc.OpKind, body any, l Line) ([]byte, error) {
	p, err := r.position(a)
	if err != nil {
		return nil, err
	}
	by, err := r.signer(a, l)
	if err != nil {
		return nil, err
	}
	step, err := strconv.Atoi(l.get("seq", "+1"))
	if err != nil {
		return nil, fmt.Errorf("seq: %w", err)
	}
	op := namesvc.Op{
		Kind: kind, Chain: l.get("chain", r.params.Chain), Account: a.id,
		Seq: p.seq + uint64(step), Prev: p.last, Expires: r.height() + r.params.MaxExpiry,
	}
	if l.get("prev", "") == "zero" {
		op.Prev = [32]byte{}
	}
	if s := l.get("expires", ""); s != "" {
		n, err := number(strings.TrimPrefix(s, "+"))
		if err != nil {
			return nil, err
		}
		op.Expires = r.height() + n
	}
	return namesvc.SignOp(op, body, by), nil
}

// commit prepares a registration and returns the commit that announces it.
func (r *Runner) commit(a *actor, l Line) ([]byte, error) {
	body := namesvc.Registration{Salt: [16]byte(first16(seed(a.name, l.get("salt", l.text))))}
	if len(l.Args) > 1 && l.Args[1][0] == '@' {
		body.Handle = spelled(l.Args[1])
	}
	e, err := r.entry(a.id)
	if err != nil {
		return nil, err
	}
	switch name := l.get("genesis", ""); {
	case name == "" && e == nil:
		body.Genesis = a.genesis.Encode()
	case name != "" && name != "none":
		other, err := r.who(name)
		if err != nil {
			return nil, err
		}
		body.Genesis = other.genesis.Encode()
	}
	for _, spec := range l.all("device") {
		g, err := r.grant(a, namesvc.Devices{}, spec)
		if err != nil {
			return nil, err
		}
		body.Devices = append(body.Devices, g)
	}
	rec, err := r.records(a, l)
	if err != nil {
		return nil, err
	}
	if string(wire.Encode(rec)) != string(wire.Encode(namesvc.Records{})) {
		body.Records = &rec
	}
	op, err := r.sign(a, namesvc.OpRegister, body, l)
	if err != nil {
		return nil, err
	}
	r.prepared[l.get("as", a.name)] = prepared{op}
	return r.pay(namesvc.CommitHash(op), l)
}

func first16(h [32]byte) []byte { return h[:16] }

// pay returns the commit op for a hash, with its payment.
func (r *Runner) pay(hash [32]byte, l Line) ([]byte, error) {
	m, err := r.meter()
	if err != nil {
		return nil, err
	}
	c := namesvc.Commit{
		Chain: l.get("on", r.params.Chain), Expires: r.height() + r.params.Reveal, Hash: hash,
		Checkpoint: m.Checkpoint, Payment: ticket.Work,
	}
	if s := l.get("window", ""); s != "" {
		n, err := number(strings.TrimPrefix(s, "+"))
		if err != nil {
			return nil, err
		}
		c.Expires = r.height() + n
	}
	back, err := strconv.Atoi(l.get("checkpoint", "0"))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	c.Checkpoint += uint64(back)
	for _, w := range r.queue {
		if w.line.Verb == "commit" && w.line.Want == "ok" && w.line.get("sponsor", "") == "" {
			m.Commits++ // those before it in the block count too
		}
	}
	if c, err = r.paid(c, m, l); err != nil {
		return nil, err
	}
	return namesvc.EncodeCommit(c), nil
}

// paid puts a payment into a commit.
func (r *Runner) paid(c namesvc.Commit, m namesvc.Meter, l Line) (namesvc.Commit, error) {
	var err error
	if spec := l.get("sponsor", ""); spec != "" {
		c.Payment = ticket.Blind
		c.Proof, err = r.ticket(c, spec, l.get("ticket", ""))
		return c, err
	}
	nonce, err := r.work(c, m, l.get("payment", "work"))
	if err != nil {
		return c, err
	}
	c.Payment, c.Proof = ticket.Work, binary.BigEndian.AppendUint64(nil, nonce)
	switch l.get("payment", "work") {
	case "blind":
		c.Payment = ticket.Blind
	case "other":
		c.Payment = 3
	case "short":
		c.Proof = c.Proof[:4]
	}
	return c, nil
}

// remake gives a commit another expiry or another payment, if the line says so.
// Nobody has signed it, so anybody can.
func (r *Runner) remake(op []byte, l Line) ([]byte, error) {
	window, pay, hash := l.get("window", ""), l.get("payment", l.get("sponsor", "")) != "", l.get("hash", "")
	if window == "" && !pay && hash == "" {
		return op, nil
	}
	tx, fault := namesvc.Parse(op)
	if fault != nil || tx.Commit == nil {
		return nil, fmt.Errorf("%s is no commit", l.Args[0])
	}
	c := *tx.Commit
	if hash != "" {
		c.Payment = ticket.Work
		if hash == "sponsored" {
			c.Payment = ticket.Blind
		}
		c.Hash, pay = c.ID(), true
	}
	if window != "" {
		n, err := number(strings.TrimPrefix(window, "+"))
		if err != nil {
			return nil, err
		}
		c.Expires = r.height() + n
	}
	if pay {
		m, err := r.meter()
		if err != nil {
			return nil, err
		}
		if c, err = r.paid(c, m, l); err != nil {
			return nil, err
		}
	}
	return namesvc.EncodeCommit(c), nil
}

// work finds a nonce that suffices, or for the payment "little" one that does
// not.
func (r *Runner) work(c namesvc.Commit, m namesvc.Meter, payment string) (uint64, error) {
	cp, err := r.checkpointOf(c.Checkpoint)
	if err != nil {
		return 0, err
	}
	challenge := ticket.Challenge(c.Chain, c.Hash, cp.Digest)
	want := namesvc.RequiredBits(r.params, m, r.now()+1+r.later)
	if payment != "little" {
		return ticket.Solve(context.Background(), challenge, want, r.params.WorkKiB, 0, 1, nil)
	}
	if want == 0 {
		return 0, fmt.Errorf("no work can be too little where none is asked for; set work_bits")
	}
	nonce := uint64(0)
	for ticket.Bits(challenge, nonce, r.params.WorkKiB) >= want {
		nonce++
	}
	return nonce, nil
}

// checkpointOf returns a checkpoint, an empty one if there is none of this number.
func (r *Runner) checkpointOf(n uint64) (cp namesvc.Checkpoint, err error) {
	b, err := r.m.Get(namesvc.CheckpointKey(n))
	if err != nil || b == nil {
		return cp, err
	}
	return cp, wire.Decode(b, &cp, maxSmallLeaf)
}

// pendingOp returns the id of the op that a cancel line means.
func (r *Runner) pendingOp(a *actor, l Line) (id [32]byte, err error) {
	if name := l.get("op", ""); name != "" {
		op, ok := r.named[name]
		if !ok {
			return id, fmt.Errorf("no op has the name %s", name)
		}
		return sha256.Sum256(op), nil
	}
	e, err := r.entry(a.id)
	if err != nil || e == nil || e.Pending == nil {
		return id, err
	}
	return e.Pending.Op, nil
}
