package keyring

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Task is an op that was signed and is not yet seen as provable. It is written
// down before the op is first submitted, so that a crash or an outage loses
// nothing: the same bytes can be submitted again, and the law takes them once.
type Task struct {
	_       struct{} `cbor:",toarray"`
	Network string   // this machine's name of the network it is for: 1 to 64 of a-z, 0-9, - and _
	Op      []byte   // exact bytes of the signed op
	// Commit is, for a registration, the exact bytes of the commit that
	// announces Op, or empty while its work is under way. It is remade when
	// its work went stale; Op stays. While a sponsor's ticket is awaited it
	// holds, in the payment's place, what the ticket is asked with.
	Commit []byte
	// Height is the block that Commit was seen in, 0 before.
	Height uint64
	// Started is when the task began, in seconds since 1970.
	Started uint64
}

// ID returns the id of the op, which names the task.
func (t Task) ID() namesvc.OpID { return sha256.Sum256(t.Op) }

// Registration returns what the op registers, and false if it does something
// else.
func (t Task) Registration() (namesvc.Registration, bool) {
	tx, fault := namesvc.Parse(t.Op)
	if fault != nil || tx.Kind() != namesvc.OpRegister {
		return namesvc.Registration{}, false
	}
	var body namesvc.Registration
	err := wire.Decode(tx.Op.Body, &body, namesvc.MaxOp)
	return body, err == nil
}

// Bounds of a journal.
const (
	// maxTasks: an account of a public network may sign 30 ops at once.
	maxTasks = 32
	// maxNetwork is more than a chain id, which is a usual name, has.
	maxNetwork = 64
	// maxJournal is maxTasks of two ops and their frame.
	maxJournal = maxTasks * (2*namesvc.MaxOp + 128)
)

// journal is a journal's file: canonical CBOR. Nothing authenticates it, and
// nothing needs to: each op in it carries its own signature.
type journal struct {
	_       struct{} `cbor:",toarray"`
	Magic   string
	Version uint8
	Tasks   []Task   // in the order they began
	Sum     [32]byte // SHA-256 of the journal with Sum all zero, against damage
}

func (j journal) sum() [32]byte {
	j.Sum = [32]byte{}
	return sha256.Sum256(wire.Encode(j))
}

const journalMagic = "confab journal"

// Tasks returns what is under way for the account, oldest first. Each op
// verifies and is the account's; each commit announces its op.
func (r Reader) Tasks(id namesvc.AccountID) ([]Task, error) {
	name := id.String() + journalSuffix
	b, err := read(r.dir, name, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	tasks, err := parseJournal(id, b)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid,
			"%s is damaged: %w; move it away, look at what the chain says, and begin again what is missing there",
			filepath.Join(r.dir, name), err)
	}
	return tasks, nil
}

func parseJournal(id namesvc.AccountID, b []byte) ([]Task, error) {
	var j journal
	if err := wire.Decode(b, &j, maxJournal); err != nil {
		return nil, err
	}
	if j.Magic != journalMagic || j.Version != version {
		return nil, fmt.Errorf("it is no journal of version %d", version)
	}
	if j.sum() != j.Sum {
		return nil, errors.New("its checksum is wrong")
	}
	return j.Tasks, checkTasks(id, j.Tasks)
}

func checkTasks(id namesvc.AccountID, tasks []Task) error {
	if len(tasks) > maxTasks {
		return fmt.Errorf("it has %d tasks, at most %d are kept", len(tasks), maxTasks)
	}
	for i, t := range tasks {
		if err := t.check(id); err != nil {
			return fmt.Errorf("task %d: %w", i+1, err)
		}
		if slices.ContainsFunc(tasks[:i], func(o Task) bool { return o.ID() == t.ID() }) {
			return fmt.Errorf("task %d is there twice", i+1)
		}
	}
	return nil
}

func (t Task) check(id namesvc.AccountID) error {
	if !networkName(t.Network) {
		return fmt.Errorf("the network has no name of 1 to %d of a-z, 0-9, - and _", maxNetwork)
	}
	if t.Started > maxSeconds {
		return errors.New("its time is out of range")
	}
	tx, fault := namesvc.Parse(t.Op)
	switch {
	case fault != nil:
		return fault
	case tx.Op == nil:
		return errors.New("its op is unsigned")
	case tx.Op.Account != id:
		return fmt.Errorf("its op is account %v's", tx.Op.Account)
	case len(t.Commit) == 0 && t.Height != 0:
		return errors.New("a commit that is not there was seen in a block")
	case len(t.Commit) == 0:
		return nil
	case tx.Kind() != namesvc.OpRegister:
		return fmt.Errorf("its op is %v and needs no commit", tx.Kind())
	}
	c, fault := namesvc.Parse(t.Commit)
	switch {
	case fault != nil:
		return fault
	case c.Commit == nil:
		return errors.New("its commit is none")
	case c.Commit.Chain != tx.Op.Chain || c.Commit.Hash != namesvc.CommitHash(t.Op):
		return errors.New("its commit announces another op")
	}
	return nil
}

func networkName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxNetwork
}

// Begin writes a task down. It must have succeeded before the op is submitted.
// If the task is there already the error is of kind Exists; if 32 others are, of
// kind Exhausted. To put a newly signed op in the place of one that expired,
// Begin the new one and then Finish the old: a crash in between leaves both, and
// the law takes one.
func (r *Ring) Begin(id namesvc.AccountID, t Task) error {
	tasks, err := r.Tasks(id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(tasks, func(o Task) bool { return o.ID() == t.ID() }) {
		return wire.Errorf(wire.Exists, "op %v is under way already", t.ID())
	}
	if len(tasks) >= maxTasks {
		return wire.Errorf(wire.Exhausted, "%d ops are under way for this account: wait until some are done", len(tasks))
	}
	return r.putTasks(id, append(tasks, t))
}

// Update replaces the task with the same op. If it is not there the error is of
// kind NotFound.
func (r *Ring) Update(id namesvc.AccountID, t Task) error {
	tasks, err := r.Tasks(id)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(tasks, func(o Task) bool { return o.ID() == t.ID() })
	if i < 0 {
		return wire.Errorf(wire.NotFound, "op %v is not under way", t.ID())
	}
	tasks[i] = t
	return r.putTasks(id, tasks)
}

// Finish strikes a task out, because its op is provable or can never be. One
// that is not there is fine.
func (r *Ring) Finish(id namesvc.AccountID, op namesvc.OpID) error {
	tasks, err := r.Tasks(id)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool { return t.ID() == op })
	if len(rest) == len(tasks) {
		return nil
	}
	return r.putTasks(id, rest)
}

func (r *Ring) putTasks(id namesvc.AccountID, tasks []Task) error {
	if err := checkTasks(id, tasks); err != nil {
		return wire.Errorf(wire.Invalid, "journal of account %v: %w", id, err)
	}
	if len(tasks) == 0 {
		return remove(r.dir, id.String()+journalSuffix)
	}
	j := journal{Magic: journalMagic, Version: version, Tasks: tasks}
	j.Sum = j.sum()
	return write(r.dir, id.String()+journalSuffix, wire.Encode(j))
}
