package namescript

import (
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Machine carries ops: the bare law, the app in one process, a network.
type Machine interface {
	// Getter reads leaves of the newest state.
	namesvc.Getter
	// Head returns the height and time of the newest block, 0 and the time of
	// the genesis before there is one.
	Head() (height, time uint64)
	// Block puts the ops into a block, at least after seconds later than the
	// newest, and returns their receipts in the order of the ops. A network
	// may spread them over several blocks, and cuts one even for no ops; it
	// returns when all of it can be read. An op refused at submission has the
	// receipt that says so.
	Block(ops [][]byte, after uint64) ([]namesvc.Receipt, error)
}

// Rooter is a Machine whose roots a script may expect; on others root lines
// are passed over.
type Rooter interface{ Root() [32]byte }

// Lister is a Machine that can list its state; [CheckState] then runs after
// every block.
type Lister interface {
	All() iter.Seq2[namesvc.Key, []byte]
}

// Result is what came of a run.
type Result struct {
	Codes map[namesvc.RejectCode]int // receipts by code
	Roots map[int]string             // what root lines found, by line number
}

// Mismatch is an outcome that was not the expected one.
type Mismatch struct {
	Line      Line
	Got       string
	Explained string // a receipt's detail
}

func (m *Mismatch) Error() string {
	s := fmt.Sprintf("line %d: %s\n\tgot  %s\n\twant %s", m.Line.Number, m.Line.text, m.Got, m.Line.Want)
	if m.Explained != "" {
		s += "\n\tfor " + m.Explained
	}
	return s
}

// Run runs a script on a machine that has begun with the script's parameters.
// Its error joins all mismatches, or says why the run could not go on.
func Run(s Script, m Machine) (Result, error) {
	r := NewRunner(s.Params, m)
	for _, l := range s.Lines {
		if err := r.Do(l); err != nil {
			return r.result, errors.Join(append(r.mismatches, fmt.Errorf("line %d: %s: %w", l.Number, l.text, err))...)
		}
	}
	if len(r.queue) > 0 {
		r.mismatches = append(r.mismatches, errors.New("ops wait at the end of the script; cut a block"))
	}
	return r.result, errors.Join(r.mismatches...)
}

// Runner runs lines one at a time.
type Runner struct {
	m          Machine
	params     namesvc.Params
	result     Result
	mismatches []error

	actors   map[string]*actor
	byID     map[namesvc.AccountID]*actor
	prepared map[string]prepared // registrations that wait for their reveal
	named    map[string][]byte   // ops by the name that as= gave them
	queue    []waiting
	ahead    map[namesvc.AccountID]position // of accounts with ops in the queue
	later    uint64                         // seconds that time lines have added
	mints    map[string]*Mint               // keys of tickets, by ACTOR.KEY
}

// waiting is an op that waits for its block.
type waiting struct {
	op   []byte
	line Line
}

// position is where an account's next op must follow.
type position struct {
	seq  uint64
	last [32]byte
}

// NewRunner returns a Runner on a machine that has begun with these parameters.
func NewRunner(p namesvc.Params, m Machine) *Runner {
	return &Runner{
		m: m, params: p,
		result: Result{Codes: map[namesvc.RejectCode]int{}, Roots: map[int]string{}},
		actors: map[string]*actor{}, byID: map[namesvc.AccountID]*actor{},
		prepared: map[string]prepared{}, named: map[string][]byte{}, ahead: map[namesvc.AccountID]position{},
		mints: map[string]*Mint{},
	}
}

// Do runs one line. An error means that the line makes no sense here or that
// the machine broke, not that an outcome was another than expected.
func (r *Runner) Do(l Line) error {
	if slices.Contains(questions, l.Verb) {
		return r.ask(l)
	}
	switch l.Verb {
	case "actor":
		return r.actor(l)
	case "block":
		return r.blocks(l)
	case "time":
		n, err := number(strings.TrimPrefix(l.Args[0], "+"))
		r.later += n
		return err
	case "checkpoint":
		return r.checkpoint()
	case "register":
		return r.register(l)
	case "fault":
		return r.fault(l)
	}
	op, err := r.build(l)
	if err != nil {
		return err
	}
	if op, err = flip(op, l.get("flip", "")); err != nil {
		return err
	}
	r.send(op, l)
	return nil
}

// send queues an op for the next block.
func (r *Runner) send(op []byte, l Line) {
	r.queue = append(r.queue, waiting{op, l})
	switch name := l.get("as", ""); {
	case l.Verb == "commit":
		r.named[l.get("as", l.Args[0])+".commit"] = op
	case l.Verb == "reveal":
		r.named[l.Args[0]+".reveal"] = op
	case name != "":
		r.named[name] = op
	}
	tx, fault := namesvc.Parse(op)
	if fault == nil && tx.Op != nil && (l.Want == "ok" || l.Want == "") {
		r.ahead[tx.Op.Account] = position{tx.Op.Seq, tx.ID}
	}
}

// register is commit, block, reveal, block.
func (r *Runner) register(l Line) error {
	commit := l
	commit.Verb, commit.Want = "commit", "ok"
	if err := r.Do(commit); err != nil {
		return err
	}
	if err := r.cut(); err != nil {
		return err
	}
	reveal := Line{Number: l.Number, Verb: "reveal", Args: []string{l.get("as", l.Args[0])}, Want: l.Want, text: l.text}
	if err := r.Do(reveal); err != nil {
		return err
	}
	return r.cut()
}

// blocks runs a block line.
func (r *Runner) blocks(l Line) error {
	count := 1
	for _, w := range l.Args {
		var err error
		switch w[0] {
		case 'x':
			count, err = strconv.Atoi(w[1:])
		case '+':
			var n uint64
			n, err = number(w[1:])
			r.later += max(n, 1) - 1
		default:
			err = fmt.Errorf("want xN or +DURATION")
		}
		if err != nil {
			return err
		}
	}
	for range count {
		if err := r.cut(); err != nil {
			return err
		}
	}
	return nil
}

// cut cuts one block with what waits, and compares the receipts.
func (r *Runner) cut() error {
	ops := make([][]byte, len(r.queue))
	for i, w := range r.queue {
		ops[i] = w.op
	}
	receipts, err := r.m.Block(ops, 1+r.later)
	if err != nil {
		return err
	}
	if len(receipts) != len(ops) {
		return fmt.Errorf("the machine gave %d receipts for %d ops", len(receipts), len(ops))
	}
	for i, w := range r.queue {
		r.result.Codes[receipts[i].Code]++
		r.compare(w.line, outcome(receipts[i].Code), receipts[i].Detail)
	}
	r.queue, r.later = nil, 0
	clear(r.ahead)
	if s, ok := r.m.(Lister); ok {
		_, now := r.m.Head()
		return CheckState(s.All(), now)
	}
	return nil
}

func (r *Runner) compare(l Line, got, detail string) {
	if l.Want != "" && l.Want != got {
		r.mismatches = append(r.mismatches, &Mismatch{l, got, detail})
	}
}

// outcome writes a receipt's code the way scripts do.
func outcome(c namesvc.RejectCode) string {
	if c == namesvc.Accepted {
		return "ok"
	}
	return c.String()
}

// checkpoint cuts blocks until there is a new checkpoint.
func (r *Runner) checkpoint() error {
	before, err := r.meter()
	if err != nil {
		return err
	}
	for range 2*r.params.Checkpoint + 2 {
		if err := r.cut(); err != nil {
			return err
		}
		now, err := r.meter()
		if err != nil || now.Checkpoint > before.Checkpoint {
			return err
		}
	}
	return fmt.Errorf("no checkpoint came in %d blocks", 2*r.params.Checkpoint+2)
}

// Bounds for reading the law's own leaves, which have under 100 bytes.
const maxSmallLeaf = 256

func (r *Runner) meter() (m namesvc.Meter, err error) {
	b, err := r.m.Get(namesvc.MeterKey())
	if err == nil {
		err = wire.Decode(b, &m, maxSmallLeaf)
	}
	return m, err
}

func (r *Runner) entry(id namesvc.AccountID) (*namesvc.Entry, error) {
	b, err := r.m.Get(namesvc.AccountKey(id))
	if err != nil || b == nil {
		return nil, err
	}
	e, err := namesvc.DecodeEntry(b)
	return &e, err
}

func (r *Runner) devicesOf(id namesvc.AccountID) (namesvc.Devices, error) {
	b, err := r.m.Get(namesvc.DevicesKey(id))
	if err != nil || b == nil {
		return namesvc.Devices{Version: 1, Account: id}, err
	}
	return namesvc.DecodeDevices(b)
}

func (r *Runner) now() uint64    { _, t := r.m.Head(); return t }
func (r *Runner) height() uint64 { h, _ := r.m.Head(); return h }

// flip inverts the lowest bit of one byte.
func flip(op []byte, at string) ([]byte, error) {
	if at == "" {
		return op, nil
	}
	n, err := strconv.Atoi(at)
	if n < 0 {
		n += len(op)
	}
	if err != nil || n < 0 || n >= len(op) {
		return nil, fmt.Errorf("flip=%s: the op has %d bytes", at, len(op))
	}
	out := append([]byte(nil), op...)
	out[n] ^= 1
	return out, nil
}

func unhex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("not hexadecimal: %w", err)
	}
	return b, nil
}
