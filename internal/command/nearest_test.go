package command

import (
	"strings"
	"testing"
)

func TestNearest_IsNotFarFetched(t *testing.T) {
	words := []string{"new", "list", "show", "passphrase", "h"}
	for typed, want := range map[string]string{
		"nwe": "new", "ne": "new", "lst": "list", "sohw": "show", "pasphrase": "passphrase", "passfrase": "passphrase",
		"xyz": "", "": "", "n": "", "display": "", "g": "", strings.Repeat("new", 1000): "",
	} {
		if got := nearest(typed, words); got != want {
			t.Errorf("nearest to %.20q is %q, want %q", typed, got, want)
		}
	}
}
