package key

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The vault key of a phrase is frozen: copies must open for ever.
func TestVault_GrowsFromThePhrase(t *testing.T) {
	p, err := ParsePhrase("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about")
	if err != nil {
		t.Fatal(err)
	}
	v := p.Vault()
	if got, want := hex.EncodeToString(v[:]), "702dfd08cb85579a56b7a54d1476f6d42a8e04c11395e3c95edddf57c9689233"; got != want {
		t.Errorf("vault key %s, want %s", got, want)
	}
	if seed := p.Root(0).Seed(); Vault(seed) == v {
		t.Error("the vault key is a root key")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if s := fmt.Sprintf(verb, struct{ V Vault }{v}); strings.Contains(s, hex.EncodeToString(v[:4])) || strings.Contains(s, fmt.Sprint(v[0], " ", v[1])) {
			t.Errorf("%s prints the key", verb)
		}
	}
	if _, err := json.Marshal(v); err == nil {
		t.Error("it marshals")
	}
}
