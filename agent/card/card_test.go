package card

import (
	"os"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func alice() Card {
	return Card{
		Account: namesvc.AccountID{1, 2, 3}, Generation: 2, Handle: "alice",
		Pin:     verify.Pin{ChainID: "my-chain", Height: 7, Hash: [32]byte{4}},
		Sources: []string{"https://v0.example.org", "http://127.0.0.1:7780"},
	}
}

func TestParse_ReadsWhatWasWrittenHoweverItWasPassedOn(t *testing.T) {
	want := alice()
	for _, text := range []string{want.String(), want.Code(), " " + want.String()[:50] + "\r\n " + want.String()[50:] + "\n"} {
		got, err := Parse(text)
		if err != nil || got.String() != want.String() || got.Handle != "alice" || len(got.Sources) != 2 {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	nobody := want
	nobody.Handle = ""
	if got, err := Parse(nobody.String()); err != nil || got.Handle != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Others write their own from the specification: this text must never change.
func TestString_IsAsTheSpecificationShowsIt(t *testing.T) {
	b, err := os.ReadFile("../../docs/SPEC-agent.md")
	if err != nil {
		t.Fatal(err)
	}
	if spec := strings.Join(strings.Fields(string(b)), ""); !strings.Contains(spec, alice().String()) {
		t.Errorf("the specification does not show this card:\n%s", alice())
	}
}

func TestParse_NoticesEachLetterThatWasMisread(t *testing.T) {
	text := alice().Code()
	for i := range text {
		for _, c := range "A7" {
			bad := text[:i] + string(c) + text[i+1:]
			if bad == text {
				continue
			}
			if _, err := Parse(bad); wire.CodeOf(err) != wire.Invalid {
				t.Fatalf("letter %d: %v", i, err)
			}
		}
	}
	for i := range text {
		if _, err := Parse(text[:i]); err == nil {
			t.Fatalf("its first %d letters are a card", i)
		}
	}
}

func TestParse_RefusesWhatIsNoCard(t *testing.T) {
	for what, change := range map[string]func(*Card){
		"no account":      func(c *Card) { c.Account = namesvc.AccountID{} },
		"no generation":   func(c *Card) { c.Generation = 0 },
		"no source":       func(c *Card) { c.Sources = nil },
		"four sources":    func(c *Card) { c.Sources = []string{"https://a", "https://b", "https://c", "https://d"} },
		"no URL":          func(c *Card) { c.Sources = []string{"ftp://a"} },
		"a long URL":      func(c *Card) { c.Sources = []string{"https://" + strings.Repeat("a", MaxSource)} },
		"no handle":       func(c *Card) { c.Handle = "Al ice" },
		"another form":    func(c *Card) { c.Handle = "ALICE" },
		"no chain":        func(c *Card) { c.Pin.ChainID = "" },
		"a chain as path": func(c *Card) { c.Pin.ChainID = "../x" },
		"no height":       func(c *Card) { c.Pin.Height = 0 },
	} {
		c := alice()
		change(&c)
		if _, err := Parse(c.String()); wire.CodeOf(err) != wire.Invalid || c.Check() == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, text := range []string{"", "confab:", "confab:2:AAAA", "https://example.org", "@alice", "confab:1:", strings.Repeat("A", 1<<20)} {
		if _, err := Parse(text); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(alice().String())
	f.Add(alice().Code())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q is read as %+v, which is read as %+v (%v)", text, c, again, err)
		}
	})
}
