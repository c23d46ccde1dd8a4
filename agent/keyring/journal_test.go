package keyring

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// renewal is a task of the account's with this sequence.
func renewal(t testing.TB, a Account, seq uint64) Task {
	t.Helper()
	op := namesvc.Op{Kind: namesvc.OpRenew, Chain: "confab-test", Account: a.ID, Seq: seq, Expires: 100}
	return Task{
		Network: "test",
		Op:      namesvc.SignOp(op, namesvc.Renewal{}, unlock(t, a, right()).Device),
		Started: uint64(at().Unix()),
	}
}

// registration is the task of registering @alice_b for the account.
func registration(t testing.TB, a Account) Task {
	t.Helper()
	op := namesvc.Op{Kind: namesvc.OpRegister, Chain: "confab-test", Account: a.ID, Seq: 1, Prev: a.ID, Expires: 100}
	body := namesvc.Registration{Handle: "alice_b", Genesis: a.Genesis}
	return Task{
		Network: "test",
		Op:      namesvc.SignOp(op, body, *unlock(t, a, right()).Root),
		Started: uint64(at().Unix()),
	}
}

// announce gives a registration its commit.
func announce(t Task) Task {
	t.Commit = namesvc.EncodeCommit(namesvc.Commit{
		Chain: "confab-test", Expires: 50, Hash: namesvc.CommitHash(t.Op),
		Payment: ticket.Work, Proof: make([]byte, ticket.NonceSize),
	})
	return t
}

func sameTasks(a, b []Task) bool {
	return slices.EqualFunc(a, b, func(a, b Task) bool { return bytes.Equal(wire.Encode(a), wire.Encode(b)) })
}

func wantTasks(t *testing.T, r Reader, id namesvc.AccountID, want ...Task) {
	t.Helper()
	if got, err := r.Tasks(id); err != nil || !sameTasks(got, want) {
		t.Errorf("there are %d tasks, want %d, or others (%v)", len(got), len(want), err)
	}
}

func TestJournal_RemembersWhatIsUnderWay(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	a := add(t, r, "alice")[0]
	wantTasks(t, r.Reader, a.ID)
	reg, renew := registration(t, a), renewal(t, a, 2)
	steps := []struct {
		do   func() error
		want []Task
	}{
		{func() error { return r.Begin(a.ID, reg) }, []Task{reg}},
		{func() error { reg = announce(reg); return r.Update(a.ID, reg) }, []Task{announce(reg)}},
		{func() error { return r.Begin(a.ID, renew) }, []Task{announce(reg), renew}},
		{func() error { reg.Height = 7; return r.Update(a.ID, reg) }, nil},
		{func() error { return r.Finish(a.ID, reg.ID()) }, []Task{renew}},
		{func() error { return r.Finish(a.ID, reg.ID()) }, []Task{renew}},
		{func() error { return r.Finish(a.ID, renew.ID()) }, []Task{}},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if i == 3 {
			s.want = []Task{reg, renew}
		}
		r.Close()
		r = open(t, dir)
		wantTasks(t, r.Reader, a.ID, s.want...)
		wantTasks(t, Read(dir), a.ID, s.want...)
	}
	if _, err := os.Stat(filepath.Join(dir, a.ID.String()+journalSuffix)); err == nil {
		t.Error("an empty journal is kept")
	}
	if body, ok := reg.Registration(); !ok || body.Handle != "alice_b" || !bytes.Equal(body.Genesis, a.Genesis) {
		t.Error("the registration is not told")
	}
	if _, ok := renew.Registration(); ok {
		t.Error("a renewal is called a registration")
	}
}

func TestJournal_RefusesTasksThatAreNotTheAccounts(t *testing.T) {
	r := open(t, t.TempDir())
	list := add(t, r, "alice", "bob")
	a, reg := list[0], announce(registration(t, list[0]))
	unsigned := reg
	unsigned.Op, unsigned.Commit = reg.Commit, nil
	for name, change := range map[string]func() Task{
		"another's op":          func() Task { return renewal(t, list[1], 1) },
		"no op":                 func() Task { x := reg; x.Op = nil; return x },
		"an unsigned op":        func() Task { return unsigned },
		"a forged op":           func() Task { x := reg; x.Op = bytes.Clone(x.Op); x.Op[len(x.Op)-1] ^= 1; return x },
		"another op's commit":   func() Task { x := reg; x.Commit = announce(registration(t, list[1])).Commit; return x },
		"a commit that is none": func() Task { x := reg; x.Commit = x.Op; return x },
		"garbled commit":        func() Task { x := reg; x.Commit = []byte{1}; return x },
		"commit of a renewal":   func() Task { return announce(renewal(t, a, 1)) },
		"height of no commit":   func() Task { x := registration(t, a); x.Height = 1; return x },
		"no network":            func() Task { x := reg; x.Network = ""; return x },
		"network of a path":     func() Task { x := reg; x.Network = "../x"; return x },
		"time out of range":     func() Task { x := reg; x.Started = 1 << 62; return x },
	} {
		if err := r.Begin(a.ID, change()); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: error %v", name, err)
		}
	}
	wantTasks(t, r.Reader, a.ID)
	if err := r.Begin(a.ID, reg); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Begin(a.ID, reg), wire.Exists)
	wantCode(t, r.Update(a.ID, renewal(t, a, 9)), wire.NotFound)
	bad := reg
	bad.Network = ""
	wantCode(t, r.Update(a.ID, bad), wire.Invalid)
	wantTasks(t, r.Reader, a.ID, reg)
}

func TestJournal_HoldsABoundedNumberOfTasks(t *testing.T) {
	r := open(t, t.TempDir())
	a := add(t, r, "alice")[0]
	for seq := range uint64(maxTasks) {
		if err := r.Begin(a.ID, renewal(t, a, seq+1)); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, r.Begin(a.ID, renewal(t, a, maxTasks+1)), wire.Exhausted)
	if tasks, err := r.Tasks(a.ID); err != nil || len(tasks) != maxTasks {
		t.Errorf("there are %d (%v)", len(tasks), err)
	}
}

func TestJournal_RefusesEveryFlippedBitAndEveryTruncation(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	a := add(t, r, "alice")[0]
	if err := r.Begin(a.ID, announce(registration(t, a))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, a.ID.String()+journalSuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := parseJournal(a.ID, good[:i]); err == nil {
			t.Errorf("cut off at byte %d it is accepted", i)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := parseJournal(a.ID, bad); err == nil {
			t.Errorf("with byte %d flipped it is accepted", i)
		}
	}
	if err := os.WriteFile(path, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.Tasks(a.ID)
	wantCode(t, err, wire.Invalid)
	wantCode(t, r.Begin(a.ID, renewal(t, a, 2)), wire.Invalid)
	if still, err := os.ReadFile(path); err != nil || !bytes.Equal(still, good[:len(good)/2]) {
		t.Errorf("a damaged journal was overwritten (%v)", err)
	}
}

func TestJournal_RefusesOneThatSomeoneWrote(t *testing.T) {
	a, b := make1(t, "alice"), make1(t, "bob")
	write := func(tasks ...Task) []byte {
		j := journal{Magic: journalMagic, Version: version, Tasks: tasks}
		j.Sum = j.sum()
		return wire.Encode(j)
	}
	mine := renewal(t, a, 1)
	if tasks, err := parseJournal(a.ID, write(mine)); err != nil || len(tasks) != 1 {
		t.Fatalf("a good one is refused: %v", err)
	}
	var many []Task
	for seq := range uint64(maxTasks + 1) {
		many = append(many, renewal(t, a, seq))
	}
	for name, bytes := range map[string][]byte{
		"another's":       write(renewal(t, b, 1)),
		"twice":           write(mine, mine),
		"too many":        write(many...),
		"an account file": a.File(),
	} {
		if _, err := parseJournal(a.ID, bytes); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzJournal(f *testing.F) {
	a := make1(f, "alice")
	for _, tasks := range [][]Task{nil, {renewal(f, a, 1)}, {announce(registration(f, a)), renewal(f, a, 2)}} {
		f.Add(wire.Encode(tasks))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var tasks []Task
		if wire.Decode(b, &tasks, maxJournal) != nil {
			return
		}
		j := journal{Magic: journalMagic, Version: version, Tasks: tasks}
		j.Sum = j.sum()
		got, err := parseJournal(a.ID, wire.Encode(j))
		if err != nil {
			return
		}
		if !sameTasks(got, tasks) {
			t.Error("what was read is not what was written")
		}
		if err := checkTasks(a.ID, got); err != nil {
			t.Error(err)
		}
	})
}
