//go:build !js

package networks_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/networks"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func network(name string, sources ...string) networks.Network {
	if len(sources) == 0 {
		sources = []string{"http://127.0.0.1:7780", "https://example.org"}
	}
	return networks.Network{Name: name, Pin: verify.Pin{ChainID: "confab-dev-1", Height: 1, Hash: [32]byte{0xab}}, Sources: sources}
}

func dir(t *testing.T) networks.Dir {
	return networks.Dir{Path: filepath.Join(t.TempDir(), "networks")}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless err has this kind and says this.
func refused(t *testing.T, what string, err error, kind wire.Code, says string) {
	t.Helper()
	if wire.CodeOf(err) != kind || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: kind %v: %v, want kind %v: …%s…", what, wire.CodeOf(err), err, kind, says)
	}
}

func TestDir_KeepsWhatWasAdded(t *testing.T) {
	d := dir(t)
	n := network("dev")
	do(t, d.Add(n))
	got, err := d.Load("dev")
	do(t, err)
	if got.Pin != n.Pin || got.Name != "dev" || !slices.Equal(got.Sources, n.Sources) {
		t.Errorf("got %+v", got)
	}
	info, err := os.Stat(filepath.Join(d.Path, "dev.toml"))
	do(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	client, err := d.Client(got)
	do(t, err)
	if client.Pin() != n.Pin {
		t.Errorf("the client stands on %v", client.Pin())
	}
	if _, err := networks.Probe(n); err != nil {
		t.Error(err)
	}
}

func TestDir_ChangesSourcesButNeverThePin(t *testing.T) {
	d := dir(t)
	do(t, d.Add(network("dev")))
	do(t, d.Add(network("dev", "https://other.example")))
	got, err := d.Load("dev")
	do(t, err)
	if !slices.Equal(got.Sources, []string{"https://other.example"}) {
		t.Errorf("sources: %v", got.Sources)
	}
	forged := network("dev")
	forged.Pin.Hash[0] ^= 1
	refused(t, "another pin", d.Add(forged), wire.Exists, "another pin (confab-dev-1:1:ab")
	if again, err := d.Load("dev"); err != nil || again.Pin != got.Pin {
		t.Errorf("the pin is %v, %v", again.Pin, err)
	}
}

func TestDir_RefusesWhatIsNoNetwork(t *testing.T) {
	d := dir(t)
	for _, name := range []string{"", "Dev", "a b", "../up", "a/b", ".", "..", "a.toml", "é", strings.Repeat("a", 65), "a\n"} {
		refused(t, name, d.Add(network(name)), wire.Invalid, "cannot name a network")
		_, err := d.Load(name)
		refused(t, name, err, wire.Invalid, "cannot name a network")
	}
	none := network("dev")
	none.Sources = nil
	refused(t, "no source", d.Add(none), wire.Invalid, "needs 1 to 16 sources")
	refused(t, "many sources", d.Add(network("dev", strings.Split(strings.Repeat("https://a.example ", 17), " ")[:17]...)), wire.Invalid, "needs 1 to 16 sources")
	refused(t, "no URL", d.Add(network("dev", "example.org")), wire.Invalid, "no base URL")
	// It would confirm itself, whatever the slash.
	refused(t, "a source twice", d.Add(network("dev", "https://a.example", "https://b.example", "https://a.example/")), wire.Invalid, "lists the source https://a.example twice")
	odd := network("dev")
	odd.Pin.ChainID = "a\x07b"
	refused(t, "an unprintable chain id", d.Add(odd), wire.Invalid, "characters that its file cannot hold")
	if list, err := d.List(); len(list) != 0 || err != nil {
		t.Errorf("something was added: %v, %v", list, err)
	}
	if _, err := networks.Probe(none); err == nil {
		t.Error("a network without sources can be probed")
	}
}

func TestDir_RefusesADamagedFile(t *testing.T) {
	d := dir(t)
	do(t, d.Add(network("dev")))
	path := filepath.Join(d.Path, "dev.toml")
	good, err := os.ReadFile(path)
	do(t, err)
	for text, says := range map[string]string{
		"":                                  "not a pin",
		"pin = 3":                           "dev.toml",
		string(good) + "\nsauces = [\"x\"]": "the key sauces is unknown",
		string(good[:len(good)/2]):          "dev.toml",
		strings.Replace(string(good), ":1:ab", ":1:AB", 1):          "not a pin",
		strings.Replace(string(good), "http://", "gopher://", 1):    "no base URL",
		strings.Repeat("# a very long comment\n", 4000):             "too large",
		"pin = \"confab-dev-1:1:" + strings.Repeat("ab", 32) + "\"": "needs 1 to 16 sources",
	} {
		do(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := d.Load("dev")
		refused(t, text[:min(len(text), 40)], err, wire.Invalid, says)
		if _, err := d.List(); err == nil {
			t.Errorf("%.40q: listed", text)
		}
		if err := d.Add(network("dev")); err == nil {
			t.Errorf("%.40q: written over", text)
		}
	}
}

func TestDir_ListsInOrderAndSkipsTheRest(t *testing.T) {
	d := dir(t)
	if list, err := d.List(); len(list) != 0 || err != nil {
		t.Errorf("before anything was added: %v, %v", list, err)
	}
	for _, name := range []string{"zeta", "alpha", "main-1"} {
		do(t, d.Add(network(name)))
	}
	do(t, os.WriteFile(filepath.Join(d.Path, "README"), []byte("x"), 0o600))
	do(t, os.WriteFile(filepath.Join(d.Path, "UPPER.toml"), []byte("x"), 0o600))
	do(t, os.Mkdir(filepath.Join(d.Path, "folder.toml"), 0o700))
	list, err := d.List()
	do(t, err)
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, []string{"alpha", "main-1", "zeta"}) {
		t.Errorf("got %v", names)
	}
}

func TestDir_ChoosesOneForGood(t *testing.T) {
	d := dir(t)
	_, err := d.Default()
	refused(t, "none", err, wire.NotFound, "confab net add")
	do(t, d.Add(network("one")))
	n, err := d.Default()
	do(t, err)
	if n.Name != "one" {
		t.Errorf("the only one is %s", n.Name)
	}
	do(t, d.Add(network("two")))
	_, err = d.Default()
	refused(t, "two", err, wire.Invalid, "--network NAME")
	refused(t, "an unknown one", d.Use("three"), wire.NotFound, `no network "three"`)
	do(t, d.Use("two"))
	if n, err = d.Default(); err != nil || n.Name != "two" {
		t.Errorf("chosen is %s, %v", n.Name, err)
	}
	do(t, os.Remove(filepath.Join(d.Path, "two.toml")))
	_, err = d.Default()
	refused(t, "the chosen one is gone", err, wire.NotFound, `no network "two"`)
}

// The file that says which network is chosen, and the folder in which a network
// of any name keeps its trust, must not be in each other's way.
func TestDir_HasRoomForANetworkOfAnyName(t *testing.T) {
	d := dir(t)
	for _, name := range []string{"default", "toml", "trust", "readme"} {
		n := network(name)
		do(t, d.Add(n))
		do(t, d.Use(name))
		c := lightclient.DirStore{Dir: filepath.Join(d.Path, name)}
		do(t, c.Save(n.Pin, verify.Trust{ChainID: n.Pin.ChainID, Height: 1, Hash: n.Pin.Hash}))
		if got, err := d.Default(); err != nil || got.Name != name {
			t.Errorf("chosen is %q, %v", got.Name, err)
		}
	}
	if list, err := d.List(); len(list) != 4 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

// Evidence that a network's chain has forked stops every later program that
// would follow it.
func TestDir_ClientRefusesAChainThatForked(t *testing.T) {
	d := dir(t)
	n := network("dev")
	do(t, d.Add(n))
	where, err := lightclient.DirStore{Dir: filepath.Join(d.Path, "dev")}.Evidence(lightclient.Evidence{Version: 1, Pin: n.Pin, Height: 9})
	do(t, err)
	_, err = d.Client(n)
	refused(t, "with evidence", err, wire.Conflict, where)
	other := network("newer")
	other.Pin.Height = 10
	do(t, d.Add(other))
	if _, err := d.Client(other); err != nil {
		t.Errorf("a network with a newer pin: %v", err)
	}
}
