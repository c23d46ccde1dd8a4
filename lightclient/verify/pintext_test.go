package verify_test

import (
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestParsePin_ReadsWhatStringWritesAndNothingElse(t *testing.T) {
	pin := verify.Pin{ChainID: "confab-test-1", Height: 1234, Hash: fill(0xab)}
	text := pin.String()
	if want := "confab-test-1:1234:" + strings.Repeat("ab", 32); text != want {
		t.Fatalf("pin is written as %s, want %s", text, want)
	}
	if got, err := verify.ParsePin(" " + text + "\n"); got != pin || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"nothing":          "",
		"a part less":      "confab-test-1:1234",
		"a part more":      text + ":1",
		"no chain":         text[len("confab-test-1"):],
		"long chain":       strings.Repeat("x", 51) + text[len("confab-test-1"):],
		"a path as chain":  "confab/../x" + text[len("confab-test-1"):],
		"capital in chain": "Confab" + text[len("confab"):],
		"height zero":      strings.Replace(text, "1234", "0", 1),
		"height with zero": strings.Replace(text, "1234", "01234", 1),
		"height negative":  strings.Replace(text, "1234", "-1", 1),
		"height too large": strings.Replace(text, "1234", "9223372036854775808", 1),
		"capital digits":   strings.Replace(text, "abab", "ABAB", 1),
		"a digit less":     text[:len(text)-1],
		"a digit more":     text + "a",
	} {
		if got, err := verify.ParsePin(bad); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}
