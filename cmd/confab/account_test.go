package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

// phraseOf is whether the phrase controls the account.
func controls(t *testing.T, phrase string, a keyring.Account) bool {
	t.Helper()
	p, err := key.ParsePhrase(phrase)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return p.Root(0).Public() == id.Root
}

func (w *world) load(name string) keyring.Account {
	w.t.Helper()
	a, err := w.accounts().Load(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// opens reports whether the passphrase opens the account.
func (w *world) opens(name, passphrase string) bool {
	w.t.Helper()
	_, err := w.load(name).Unlock([]byte(passphrase))
	return err == nil
}

// onDisk reports whether any file of the world holds the text.
func (w *world) onDisk(text string) bool {
	w.t.Helper()
	found := false
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(text))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func (w *world) wantAccounts(names ...string) {
	w.t.Helper()
	list, err := w.accounts().List()
	if err != nil || !slices.EqualFunc(list, names, func(a keyring.Account, n string) bool { return a.Name == n }) {
		w.t.Errorf("there are %d accounts, want %q (%v)", len(list), names, err)
	}
}

func TestAccountNew_ShowsThePhraseOnceAndAsksForTwoOfItsWords(t *testing.T) {
	w := newWorld(t)
	w.person = &fakePerson{answers: []string{"correct horse", "correct horse", "", askedWord, askedWord}}
	s := w.run("account new").ok()
	var words []string
	for i := range key.PhraseWords {
		words = append(words, w.person.words()[fmt.Sprint(i+1)])
	}
	phrase := strings.Join(words, " ")
	a := w.load("me")
	switch {
	case !controls(t, phrase, a):
		t.Error("the phrase on the screen is not the account's")
	case !w.opens("me", "correct horse"):
		t.Error("the passphrase does not open it")
	case a.Root.IsZero() || a.Kind != namesvc.Person:
		t.Error("it has no lower root key, or is no person")
	case !slices.Equal(w.person.shown, []bool{false, false, true, true, true}):
		t.Errorf("what is typed is shown or hidden wrongly: %q %v", w.person.asked, w.person.shown)
	case w.person.asked[3] == w.person.asked[4]:
		t.Errorf("it asked for one word twice: %q", w.person.asked[3:])
	case strings.Contains(s.stdout, words[0]+" ") || w.onDisk(words[0]+" "+words[1]):
		t.Error("the phrase went elsewhere than to the terminal")
	case strings.Count(s.stderr, "1  \x1b[1m"+words[0]+" ") != 1:
		t.Errorf("the phrase was not shown once:\n%s", s.stderr)
	}
	// It is on the second screen, which is emptied before the questions and
	// left after them.
	on, off := strings.Index(s.stderr, secondScreen), strings.LastIndex(s.stderr, firstScreen)
	shown, emptied := strings.Index(s.stderr, words[0]), strings.LastIndex(s.stderr[:off], emptyScreen)
	if on < 0 || !(on < shown && shown < emptied && emptied < off) {
		t.Errorf("second screen at %d, phrase at %d, emptied at %d, left at %d", on, shown, emptied, off)
	}
	if !s.shows("account", a.ID.String()) || !strings.Contains(s.stderr, "confab handle register") {
		t.Errorf("the result or what to do next is missing:\n%s\n%s", s.stdout, s.stderr)
	}
}

// Whoever has a small screen must not copy half a word.
func TestAccountNew_ShowsThePhraseWithin40Columns(t *testing.T) {
	w := newWorld(t)
	w.person = &fakePerson{answers: []string{"correct horse", "correct horse", "", askedWord, askedWord}}
	s := w.run("account new").ok()
	_, page, _ := strings.Cut(s.stderr, secondScreen)
	page, _, _ = strings.Cut(page, emptyScreen)
	lines := strings.Split(regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`).ReplaceAllString(page, ""), "\n")
	lines = append(lines, w.person.asked[2]) // the prompt below it
	for _, line := range lines {
		if len(line) > 40 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if len(lines) < 10 || len(lines) > 24 {
		t.Errorf("the page has %d lines:\n%s", len(lines), page)
	}
}

func TestAccountNew_ShowsThePhraseAgainAfterAWrongWord(t *testing.T) {
	w := newWorld(t)
	w.person = &fakePerson{answers: []string{"correct horse", "correct horse", "", "wrong", askedWord, "", askedWord, "Wrong", "", askedWord, askedWord}}
	s := w.run("account new").ok()
	if n := strings.Count(s.stderr, "your recovery phrase"); n != 3 {
		t.Errorf("the phrase was shown %d times, want 3", n)
	}
	w.wantAccounts("me")
}

// TestAskWords_AsksForAnyTwo asks often enough that each word has its turn, first
// and second, and no word is asked for twice at once.
func TestAskWords_AsksForAnyTwo(t *testing.T) {
	var screen bytes.Buffer
	w := newWorld(t)
	e := w.env(&screen, &screen)
	c := &call{env: e, Call: &command.Call{World: e.world, Context: cli.NewContext(cli.NewApp(), nil, &cli.Context{Context: t.Context()})}}
	words := strings.Fields("a b c d e f g h i j k l")
	times := map[string]int{}
	const rounds = 1200
	for range rounds {
		p := &fakePerson{answers: []string{"x", "x"}}
		e.person = p
		if right, err := c.askWords(words); right || err != nil {
			t.Fatalf("wrong words are right (%v)", err)
		}
		if p.asked[0] == p.asked[1] {
			t.Fatalf("%q was asked for twice", p.asked[0])
		}
		times["1 "+p.asked[0]]++
		times["2 "+p.asked[1]]++
	}
	if len(times) != 2*len(words) {
		t.Errorf("only %d of %d questions were asked", len(times), 2*len(words))
	}
	for q, n := range times {
		if mean := rounds / len(words); n < mean/2 || n > 2*mean {
			t.Errorf("question %q came %d times, the mean is %d", q, n, mean)
		}
	}
}

func TestAccountNew_WritesNothingUnlessThePhraseIsConfirmed(t *testing.T) {
	pass := []string{"correct horse", "correct horse"}
	for name, c := range map[string]struct {
		answers []string
		status  int
	}{
		"wrong words":            {append(pass, "", "x", "x", "", "x", "x", "", "x", "x"), 10},
		"stopped at the words":   {append(pass, "", stops), 130},
		"stopped at the second":  {append(pass, "", askedWord, stops), 130},
		"stopped at the phrase":  {append(pass, stops), 130},
		"stopped at the start":   {[]string{stops}, 130},
		"passphrases differ":     {[]string{"correct horse", "correct house", "battery staple", "x", "battery staple", "y"}, 10},
		"passphrases too short":  {[]string{"short", "seven77", ""}, 10},
		"passphrase not retyped": {[]string{"correct horse", stops}, 130},
	} {
		w := newWorld(t)
		w.person = &fakePerson{answers: slices.Clone(c.answers)}
		s := w.run("account new").fails(c.status)
		w.wantAccounts()
		if strings.Count(s.stderr, secondScreen) != strings.Count(s.stderr, firstScreen) {
			t.Errorf("%s: the second screen was not left", name)
		}
	}
}

func TestAccountNew_AsksNothingIfItCannotSucceed(t *testing.T) {
	w := newWorld(t)
	w.account("me")
	w.person = &fakePerson{} // any question fails the test
	w.run("account new").fails(13, `an account named "me" already`, "--name NAME")
	w.run("account new --name A/B").fails(10, "account name")
	w.run("account new --kind robot").fails(2, "person, organisation or service")
	r, err := keyring.Open(w.path("home/accounts"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.run("account new --name other").fails(17, "another confab is using")
	if len(w.person.asked) != 0 {
		t.Errorf("it asked %q", w.person.asked)
	}
	w.run("account list").ok()
}

func TestAccountNew_WithoutATerminalNeedsAWordAboutThePhrase(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	w.run("account new --passphrase-file FILE/pass").fails(2, "no terminal to show the recovery phrase on", "--unattended")
	w.run("account new --unattended").fails(2, "--passphrase-file")
	w.run("account new --unattended --phrase-stdin --passphrase-file FILE/pass").fails(2, "use one of them")
	w.stdin = "one two three"
	w.run("account new --phrase-stdin").fails(2, "no terminal to ask for the passphrase on: use --passphrase-file")
	w.run("account new --phrase-stdin --passphrase-file FILE/pass").fails(10, "it has 3 words")
	w.wantAccounts()
}

func TestAccountNew_UnattendedPrintsThePhraseThatControlsIt(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	var v accountView
	w.run("account new --unattended --json --no-root --kind service --name hub --passphrase-file FILE/pass").ok().decode(&v)
	a := w.load("hub")
	if !controls(t, v.Phrase, a) || w.onDisk(v.Phrase) {
		t.Error("the phrase is not the account's, or it is on disk")
	}
	if v.Account != a.ID.String() || v.Kind != "service" || v.Root != "" || !a.Root.IsZero() || !v.Default {
		t.Errorf("the result is %+v", v)
	}
	var again accountView
	w.run("account show --json").ok().decode(&again)
	v.Phrase = ""
	if again != v {
		t.Errorf("show says %+v, new said %+v", again, v)
	}
	s := w.run("account new --unattended --name two --passphrase-file FILE/pass").ok()
	if !s.shows("default", "no") || !strings.Contains(s.stdout, "\nphrase ") {
		t.Errorf("the text is\n%s", s.stdout)
	}
}

// broken is a full disk or a closed pipe.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAccountNew_UnattendedKeepsNoAccountWhosePhraseNobodySaw(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	w.stdout = broken{}
	w.run("account new --unattended --passphrase-file FILE/pass").fails(18, "no space left")
	w.wantAccounts()
}

func TestAccountNew_TakesAPhraseMadeElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\r\n")
	p, err := key.NewPhrase(&dice{n: 1000})
	if err != nil {
		t.Fatal(err)
	}
	w.stdin = "\n  " + strings.ToUpper(strings.ReplaceAll(p.Reveal(), " ", "\n")) + "\n\n"
	s := w.run("account new --phrase-stdin --passphrase-file FILE/pass").ok()
	if !controls(t, p.Reveal(), w.load("me")) || !w.opens("me", "correct horse") {
		t.Error("it is another's")
	}
	if strings.Contains(s.stdout+s.stderr, strings.Fields(p.Reveal())[0]) {
		t.Error("the phrase was repeated")
	}
	w.stdin = p.Reveal() + strings.Repeat(" ", 2000) + "x"
	w.run("account new --phrase-stdin --name b --passphrase-file FILE/pass").fails(10, "too long")
}

func TestPassphraseFile_IsOneGoodLine(t *testing.T) {
	for content, word := range map[string]string{
		"":                                  "is empty",
		"\n":                                "is empty",
		"correct horse\nbattery\n":          "more than one line",
		"correct horse\n\n":                 "more than one line",
		"short\n":                           "at least 8 are needed",
		strings.Repeat("x", 1025):           "more than 1024 bytes",
		strings.Repeat("correct horse", 99): "too large",
	} {
		w := newWorld(t)
		w.write("pass", content)
		w.run("account new --unattended --passphrase-file FILE/pass").fails(10, word)
		w.wantAccounts()
	}
	w := newWorld(t)
	w.run("account new --unattended --passphrase-file FILE/none").fails(12, "is not there")
	w.run("account new --unattended --passphrase-file FILE/").fails(10)
	w.write("pass", "pässwörd") // eight characters, ten bytes
	w.run("account new --unattended --passphrase-file FILE/pass").ok()
	if !w.opens("me", "pässwörd") {
		t.Error("the passphrase was changed")
	}
}

func TestAccountUse_ChoosesTheDefault(t *testing.T) {
	w := newWorld(t)
	if s := w.run("account list").ok(); s.stdout != "" || !strings.Contains(s.stderr, "confab account new") {
		t.Errorf("an empty list says %q %q", s.stdout, s.stderr)
	}
	w.run("account show").fails(12, "confab account new")
	w.account("alice")
	w.account("bob")
	w.run("account show").fails(10, "there are 2 accounts", "--account NAME", "confab account use NAME")
	w.run("account use bob").ok()
	for line, want := range map[string]string{
		"account show":                                "bob",
		"account show alice":                          "alice",
		"account show --account alice":                "alice",
		"account show " + w.load("alice").ID.String(): "alice",
	} {
		if s := w.run(line).ok(); !s.shows("name", want) {
			t.Errorf("%s shows\n%s", line, s.stdout)
		}
	}
	w.vars["CONFAB_ACCOUNT"] = "alice"
	if s := w.run("account show").ok(); !s.shows("name", "alice") {
		t.Errorf("CONFAB_ACCOUNT is not heeded:\n%s", s.stdout)
	}
	lines := strings.Split(w.run("account list").ok().stdout, "\n")
	if len(lines) != 3 || strings.Contains(lines[0], "default") || !strings.HasSuffix(lines[1], "default") {
		t.Errorf("the list is %q", lines)
	}
	w.run("account use carol").fails(12, `account "carol" is not on this machine`, "confab account list")
}

func TestAccountList_ShowsTheOthersWhenOneIsDamaged(t *testing.T) {
	w := newWorld(t)
	w.account("alice")
	w.account("bob")
	path := "home/accounts/" + w.load("alice").ID.String() + ".account"
	w.write(path, "damaged")
	s := w.run("account list")
	if s.status != 10 || !strings.HasPrefix(s.stdout, "bob ") || !strings.Contains(s.stderr, w.path(path)) {
		t.Errorf("status %d\n%s%s", s.status, s.stdout, s.stderr)
	}
}

func TestAccountExport_IsWhatImportTakes(t *testing.T) {
	w := newWorld(t)
	w.account("alice")
	w.write("file-pass", "battery staple\n")
	w.write("here", "another passphrase\n")
	var v accountView
	s := w.run("account export --json --passphrase-file FILE/pass --new-passphrase-file FILE/file-pass FILE/a.confab").ok()
	s.decode(&v)
	if v.File != w.path("a.confab") || s.stderr != "" {
		t.Errorf("the result is %+v, and beside it %q", v, s.stderr)
	}
	if info, err := os.Stat(w.path("a.confab")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v (%v)", info.Mode(), err)
	}
	import1 := "account import --passphrase-file FILE/file-pass --new-passphrase-file FILE/here "
	w.run(import1+"FILE/a.confab").fails(13, `an account named "alice" already`)
	w.run(import1+"--name b FILE/a.confab").fails(13, "is on this machine already", `as "alice"`)
	alice := w.load("alice")
	w.vars["CONFAB_HOME"] = w.path("new machine")
	w.run("account import --passphrase-file FILE/pass --new-passphrase-file FILE/here FILE/a.confab").fails(11, "passphrase is wrong")
	w.run(import1 + "--name b FILE/a.confab").ok()
	b, err := keyring.Read(w.path("new machine/accounts")).Load("b")
	if err != nil {
		t.Fatal(err)
	}
	if b.ID != alice.ID || b.Device != alice.Device || b.Root != alice.Root || !bytes.Equal(b.Genesis, alice.Genesis) {
		t.Error("it is another account")
	}
	if _, err := b.Unlock([]byte("another passphrase")); err != nil {
		t.Error(err)
	}
}

func TestAccountExport_LeavesNothingWhenItFails(t *testing.T) {
	w := newWorld(t)
	w.account("alice")
	w.write("wrong", "wrong passphrase\n")
	w.write("there", "precious")
	export := "account export --passphrase-file FILE/pass --new-passphrase-file FILE/pass "
	w.run(export+"FILE/there").fails(13, "is there already")
	if b, err := os.ReadFile(w.path("there")); err != nil || string(b) != "precious" {
		t.Errorf("the file was changed: %q (%v)", b, err)
	}
	w.run("account export --passphrase-file FILE/wrong --new-passphrase-file FILE/pass FILE/a").fails(11, "passphrase is wrong")
	w.run("account export --passphrase-file FILE/pass FILE/a").fails(2, "--new-passphrase-file")
	w.run(export + "FILE/no/folder").fails(10)
	w.run(export+"--account bob FILE/a").fails(12, `"bob"`)
	w.person = &fakePerson{} // any question would fail otherwise than this
	w.run("account export FILE/there").fails(13, "is there already")
	w.person = nil
	if _, err := os.Stat(w.path("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was left")
	}
}

func TestAccountImport_RefusesWhatIsNoAccount(t *testing.T) {
	w := newWorld(t)
	w.write("pass", "correct horse\n")
	for name, content := range map[string]string{"empty": "", "text": "hello", "large": strings.Repeat("x", 1<<16)} {
		w.write(name, content)
		w.run("account import --passphrase-file FILE/pass --new-passphrase-file FILE/pass FILE/"+name).fails(10, w.path(name))
	}
	w.wantAccounts()
}

func TestAccountRestore_NeedsThePhraseAndNoPassphrase(t *testing.T) {
	w := newWorld(t)
	phrase := w.account("alice")
	other := w.account("other")
	w.run("account export --account alice --passphrase-file FILE/pass --new-passphrase-file FILE/pass FILE/a.confab").ok()
	alice := w.load("alice")
	w.vars["CONFAB_HOME"] = w.path("new machine")
	w.write("new", "a new passphrase\n")
	restore := "account restore --phrase-stdin --passphrase-file FILE/new "
	w.stdin = other
	w.run(restore+"--from FILE/a.confab").fails(11, "this phrase is that of another account")
	w.stdin = phrase
	w.run(restore).fails(2, "which account?", "--from")
	w.run(restore+"--from FILE/pass").fails(10, "no account file")
	s := w.run(restore + "--from FILE/a.confab").ok()
	a, err := keyring.Read(w.path("new machine/accounts")).Load("alice")
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != alice.ID || a.Device == alice.Device || a.Root == alice.Root {
		t.Error("it is another account, or its keys are not new")
	}
	if _, err := a.Unlock([]byte("a new passphrase")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.stderr, "confab handle devices") {
		t.Errorf("what to do next is missing: %s", s.stderr)
	}
	w.run(restore+"--from FILE/a.confab --name again").fails(13, "is on this machine already")
}

func TestAccountRestore_AsksForThePhraseUnseen(t *testing.T) {
	w := newWorld(t)
	phrase := w.account("alice")
	file := "home/accounts/" + w.load("alice").ID.String() + ".account"
	w.vars["CONFAB_HOME"] = w.path("new machine")
	w.person = &fakePerson{answers: []string{"not a phrase", phrase, "a new passphrase", "a new passphrase"}}
	s := w.run("account restore --from FILE/" + file).ok()
	if slices.Contains(w.person.shown, true) || strings.Contains(s.stdout+s.stderr, phrase) {
		t.Error("the phrase was shown")
	}
	w.vars["CONFAB_HOME"] = w.path("third machine")
	other, err := key.NewPhrase(&dice{n: 1000})
	if err != nil {
		t.Fatal(err)
	}
	w.person = &fakePerson{answers: []string{other.Reveal()}}
	w.run("account restore --from FILE/"+file).fails(11, "another account")
	w.person = &fakePerson{answers: []string{"1", "2", "3"}}
	w.run("account restore --from FILE/"+file).fails(10, "it has 1 words")
}

func TestAccountPassphrase_ReplacesTheOldOne(t *testing.T) {
	w := newWorld(t)
	w.account("alice")
	w.person = &fakePerson{answers: []string{"correct horse", "battery staple", "battery staple"}}
	w.run("account passphrase").ok()
	if w.opens("alice", "correct horse") || !w.opens("alice", "battery staple") {
		t.Error("the passphrase is not the new one")
	}
	w.person = &fakePerson{answers: []string{"correct horse"}}
	w.run("account passphrase alice").fails(11, "passphrase is wrong")
	w.person = &fakePerson{answers: []string{"battery staple", "x", "y", "z"}}
	w.run("account passphrase").fails(10, "nothing was changed")
	if !w.opens("alice", "battery staple") {
		t.Error("a refused change left a trace")
	}
}

// TestOutput_ContainsNoSecret runs what can fail with secrets at hand and looks
// for them in everything that is said.
func TestOutput_ContainsNoSecret(t *testing.T) {
	w := newWorld(t)
	phrase := w.account("alice")
	w.account("bob")
	keys, err := w.load("alice").Unlock([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("wrong", "wrong passphrase\n")
	w.write("two", "correct horse\nbattery staple\n")
	w.stdin = phrase
	w.vars["CONFAB_ACCOUNT"] = "alice"
	var all strings.Builder
	for _, flag := range []string{"", "--json "} {
		for _, line := range []string{
			"account list", "account show", "account use carol",
			"account passphrase --passphrase-file FILE/wrong --new-passphrase-file FILE/pass",
			"account passphrase --passphrase-file FILE/pass --new-passphrase-file FILE/two",
			"account export --passphrase-file FILE/wrong --new-passphrase-file FILE/pass FILE/x",
			"account export --passphrase-file FILE/pass --new-passphrase-file FILE/pass FILE/none/x",
			"account export --passphrase-file FILE/pass --new-passphrase-file FILE/pass FILE/wrong",
			"account new --phrase-stdin --passphrase-file FILE/pass --name alice",
			"account new --phrase-stdin --passphrase-file FILE/two --name carol",
			"account restore --phrase-stdin --passphrase-file FILE/pass --from FILE/pass",
			"account restore --phrase-stdin --passphrase-file FILE/pass --from FILE/home/accounts/" + w.load("bob").ID.String() + ".account",
			"account restore --phrase-stdin --passphrase-file FILE/pass --from FILE/home/accounts/" + w.load("alice").ID.String() + ".account --name c",
		} {
			verb, rest, _ := strings.Cut(strings.TrimPrefix(line, "account "), " ")
			s := w.run("account " + verb + " " + flag + rest)
			fmt.Fprintf(&all, "%s\n%s\n%s\n", line, s.stdout, s.stderr)
		}
	}
	seed := keys.Device.Seed()
	for _, secret := range []string{
		phrase, strings.Join(strings.Fields(phrase)[:2], " "), "correct horse", "battery staple", "wrong passphrase",
		fmt.Sprintf("%x", seed[:]), string(seed[:]),
	} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%q was said:\n%s", secret, all.String())
		}
	}
}
