package keyring

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
)

// TestMain lets the test binary be the other process as well.
func TestMain(m *testing.M) {
	if dir := os.Getenv("KEYRING_TEST_WRITER"); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeForEver holds dir, prints a line, and gives its one account a new
// passphrase again and again, each of which it prints before it is in use.
func writeForEver(dir string) error {
	r, err := Open(dir)
	if err != nil {
		return err
	}
	a, err := r.Default()
	if err != nil {
		return err
	}
	fmt.Println("open")
	last := right()
	for n := 0; ; n++ {
		next := fmt.Appendf(nil, "passphrase %d", n)
		a, err = a.Reencrypt(roll(string(next)), last, "", Protect(next, cheap()))
		if err != nil {
			return err
		}
		fmt.Println(string(next))
		if err := r.Replace(a); err != nil {
			return err
		}
		last = next
	}
}

func names(list []Account) []string {
	var s []string
	for _, a := range list {
		s = append(s, a.Name)
	}
	return s
}

func TestRing_KeepsAccountsAcrossOpenings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home", "accounts")
	if list, err := Read(dir).List(); list != nil || err != nil {
		t.Errorf("a folder that is not there has %v (%v)", list, err)
	}
	r := open(t, dir)
	made := add(t, r, "bob", "alice", "carol")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir)
	list, err := r.List()
	if err != nil || !slices.Equal(names(list), []string{"alice", "bob", "carol"}) {
		t.Errorf("there are %v (%v)", names(list), err)
	}
	for _, a := range made {
		byName, err := r.Load(a.Name)
		if err != nil || !same(a, byName) {
			t.Errorf("%s by its name: %v", a.Name, err)
		}
		byID, err := Read(dir).Load(a.ID.String())
		if err != nil || !same(a, byID) {
			t.Errorf("%s by its id: %v", a.Name, err)
		}
		unlock(t, byID, right())
	}
}

func TestLoad_SaysWhatIsNotThere(t *testing.T) {
	r := open(t, t.TempDir())
	a := add(t, r, "alice")[0]
	for _, s := range []string{"bob", strings.Repeat("0", 64)} {
		_, err := r.Load(s)
		wantCode(t, err, wire.NotFound)
	}
	for _, s := range []string{"", "../" + a.ID.String(), "@alice", strings.ToUpper(a.ID.String())} {
		_, err := r.Load(s)
		wantCode(t, err, wire.Invalid)
	}
}

func TestAdd_RefusesASecondOfTheSame(t *testing.T) {
	r := open(t, t.TempDir())
	a := add(t, r, "alice")[0]
	wantCode(t, r.Add(a), wire.Exists)
	renamed, err := a.Reencrypt(roll("x"), right(), "other", Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Add(renamed), wire.Exists)
	other, err := make1(t, "bob").Reencrypt(roll("x"), right(), "alice", Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Add(other), wire.Exists)
	wantCode(t, r.Add(Account{Name: "x"}), wire.Internal)
	if list, err := r.List(); err != nil || len(list) != 1 || !same(list[0], a) {
		t.Errorf("refused ones left %v (%v)", names(list), err)
	}
}

func TestReplace_TakesOnlyTheSameAccount(t *testing.T) {
	r := open(t, t.TempDir())
	a := add(t, r, "alice")[0]
	b, err := a.Reencrypt(roll("x"), right(), "", Protect([]byte("new"), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Replace(b); err != nil {
		t.Fatal(err)
	}
	got, err := r.Load("alice")
	if err != nil || !same(got, b) {
		t.Errorf("it is not the new one (%v)", err)
	}
	renamed, err := a.Reencrypt(roll("x"), right(), "other", Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Replace(renamed), wire.Conflict)
	wantCode(t, r.Replace(make1(t, "bob")), wire.NotFound)
	if got, err := r.Load("alice"); err != nil || !same(got, b) {
		t.Errorf("a refused one left a trace (%v)", err)
	}
}

func TestRemove_LeavesNothingOfTheAccountAndAllOfTheOthers(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	made := add(t, r, "alice", "bob")
	alice, bob := made[0], made[1]
	for _, a := range made {
		if err := r.Begin(a.ID, renewal(t, a, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Choose(bob.ID); err != nil {
		t.Fatal(err)
	}
	for i, a := range []Account{alice, bob} {
		if err := r.Remove(a.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.Remove(a.ID), wire.NotFound)
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(left) != []int{4, 1}[i] { // of bob: account, journal, choice; and the lock
			t.Errorf("after %s there are %q (%v)", a.Name, left, err)
		}
		wantTasks(t, r.Reader, a.ID)
	}
	_, err := r.Default()
	wantCode(t, err, wire.NotFound)
	// The same account can come back, and is not burdened by what was.
	if err := r.Add(alice); err != nil {
		t.Error(err)
	}
	wantTasks(t, r.Reader, alice.ID)
}

func TestDefault_IsTheChosenOrTheOnlyOne(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	_, err := r.Default()
	wantCode(t, err, wire.NotFound)
	alice := add(t, r, "alice")[0]
	if a, err := r.Default(); err != nil || !same(a, alice) {
		t.Errorf("the only one is not the default (%v)", err)
	}
	bob := add(t, r, "bob")[0]
	_, err = r.Default()
	wantCode(t, err, wire.Invalid)
	if err := r.Choose(bob.ID); err != nil {
		t.Fatal(err)
	}
	if a, err := Read(dir).Default(); err != nil || !same(a, bob) {
		t.Errorf("the chosen one is not the default (%v)", err)
	}
	wantCode(t, r.Choose(make1(t, "carol").ID), wire.NotFound)
	if a, err := r.Default(); err != nil || !same(a, bob) {
		t.Errorf("a refused choice changed the default (%v)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, defaultFile), []byte("../../etc/passwd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.Default()
	wantCode(t, err, wire.Invalid)
}

func TestList_ShowsTheOthersWhenOneIsDamaged(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	made := add(t, r, "alice", "bob", "carol")
	path := filepath.Join(dir, made[0].ID.String()+accountSuffix)
	for name, damage := range map[string]func() error{
		"empty":       func() error { return os.WriteFile(path, nil, 0o600) },
		"short":       func() error { return os.WriteFile(path, made[0].File()[:200], 0o600) },
		"huge":        func() error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"another's":   func() error { return os.WriteFile(path, made[1].File(), 0o600) },
		"a folder":    func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link":      func() error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
		"a dead link": func() error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		list, err := r.List()
		if err == nil || !strings.Contains(err.Error(), made[0].ID.String()) {
			t.Errorf("%s: the error is %v", name, err)
		}
		if name == "huge" && !strings.Contains(err.Error(), "too large") {
			t.Errorf("the error does not say that it is too large: %v", err)
		}
		if want := []string{"bob", "carol"}; !slices.Equal(names(list), want) {
			t.Errorf("%s: there are %v", name, names(list))
		}
		if _, err := r.Load("bob"); err != nil {
			t.Errorf("%s: bob: %v", name, err)
		}
		_, err = r.Load("alice")
		wantCode(t, err, wire.NotFound)
		wantCode(t, r.Add(made[0]), wire.Exists)
		if _, err := r.Default(); err == nil {
			t.Errorf("%s: a default was guessed", name)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := r.Add(made[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_ForgetsWhatACrashLeftHalfWritten(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	a := add(t, r, "alice")[0]
	r.Close()
	left := []string{a.ID.String() + accountSuffix + unfinished, a.ID.String() + journalSuffix + unfinished, defaultFile + unfinished}
	for _, name := range left {
		if err := os.WriteFile(filepath.Join(dir, name), make1(t, "mallory").File()[:100], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := Read(dir).List(); err != nil || len(list) != 1 || !same(list[0], a) {
		t.Errorf("before it is opened there are %v (%v)", names(list), err)
	}
	r = open(t, dir)
	for _, name := range left {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", name)
		}
	}
	if got, err := r.Load("alice"); err != nil || !same(got, a) {
		t.Errorf("the account is not what it was (%v)", err)
	}
}

func TestOpen_RefusesASecondTimeAndASecondProcess(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	a := add(t, r, "alice")[0]
	_, err := Open(dir)
	wantCode(t, err, wire.Unavailable)
	if err == nil || !strings.Contains(err.Error(), "another confab is using "+dir) {
		t.Errorf("the error is %v", err)
	}
	out, err := writer(dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another confab is using") {
		t.Errorf("the other process said %q (%v)", out, err)
	}
	if got, err := Read(dir).Load("alice"); err != nil || !same(got, a) {
		t.Errorf("reading is refused as well (%v)", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func writer(dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEYRING_TEST_WRITER="+dir)
	return cmd
}

// TestReplace_IsWhollyOldOrNewWhenTheProcessIsKilled kills a process that
// changes passphrases at full speed, and finds the account under the last one
// that it had in use or the one it was about to use.
func TestReplace_IsWhollyOldOrNewWhenTheProcessIsKilled(t *testing.T) {
	for round := range 8 {
		dir := t.TempDir()
		r := open(t, dir)
		add(t, r, "alice")
		r.Close()
		cmd := writer(dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := [][]byte{right()}
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			if lines.Text() != "open" {
				said = append(said, bytes.Clone(lines.Bytes()))
			}
			if len(said) == 3*round+2 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || len(said) < 3*round+2 {
			t.Fatalf("round %d: the writer ended by itself after %d changes: %s", round, len(said), said[len(said)-1])
		}
		r = open(t, dir) // the lock ended with the process
		a, err := r.Load("alice")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if !slices.ContainsFunc(said[len(said)-2:], func(p []byte) bool { _, err := a.Unlock(p); return err == nil }) {
			t.Errorf("round %d: neither of the last two passphrases opens the account", round)
		}
		r.Close()
	}
}

func TestRing_IsItsOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are other there")
	}
	dir := filepath.Join(t.TempDir(), "accounts")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	r := open(t, dir)
	a := add(t, r, "alice")[0]
	if err := errors.Join(r.Choose(a.ID), r.Begin(a.ID, renewal(t, a, 2))); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		seen++
		return nil
	})
	if err != nil || seen != 5 {
		t.Errorf("%d files and folders were looked at, want 5 (%v)", seen, err)
	}
}

func TestRing_HoldsABoundedNumberOfAccounts(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	for n := range maxAccounts {
		a := make1(t, fmt.Sprintf("a%d", n))
		if err := os.WriteFile(filepath.Join(dir, a.ID.String()+accountSuffix), a.File(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, r.Add(make1(t, "one-more")), wire.Exhausted)
	if list, err := r.List(); err != nil || len(list) != maxAccounts {
		t.Errorf("there are %d (%v)", len(list), err)
	}
}
