package networks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Network is a chain with a name on this machine.
type Network struct {
	Name    string
	Pin     verify.Pin
	Sources []string // base URLs, tried in this order; the second confirms the first
}

// Dir is a folder of networks.
type Dir struct{ Path string }

// file is a network's file.
type file struct {
	Pin     string   `toml:"pin"`
	Sources []string `toml:"sources"`
}

const template = `# A confab network, written by "confab net add".

# Where trust in it begins: chain, height and hash of one header, which you got
# from somebody you believe. Everything else is verified from here.
pin = %q

# Whom to ask. They are not trusted; more than one makes lies visible.
sources = [
%s]
`

const (
	suffix   = ".toml"
	chosen   = "default.txt" // holds the name of the network to use; no network's folder is called so
	maxFile  = 64 << 10
	maxNames = 64 // bytes of a name
	// MaxSources bounds the sources of a network: each may cost a time-out.
	MaxSources = 16
)

// CheckName reports whether a network can have this name: 1 to 64 of a-z, 0-9,
// - and _.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= maxNames
	for _, c := range []byte(name) {
		ok = ok && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return wire.Errorf(wire.Invalid, "%.40q cannot name a network: use a to z, 0 to 9, - and _", name)
	}
	return nil
}

func (n Network) check() error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if len(n.Sources) == 0 || len(n.Sources) > MaxSources {
		return wire.Errorf(wire.Invalid, "network %s needs 1 to %d sources", n.Name, MaxSources)
	}
	seen := map[string]bool{}
	for _, s := range n.Sources {
		h, err := source.NewHTTP(s, nil)
		if err != nil {
			return err
		}
		if seen[h.Name()] {
			return wire.Errorf(wire.Invalid, "network %s lists the source %s twice; it cannot confirm itself", n.Name, h.Name())
		}
		seen[h.Name()] = true
	}
	return nil
}

// Client returns a light client of the network, which keeps what it verifies
// beside the network's file.
func (d Dir) Client(n Network) (*lightclient.Client, error) {
	return n.client(lightclient.DirStore{Dir: filepath.Join(d.Path, n.Name)})
}

// Probe returns a light client of a network that is not kept, and keeps nothing.
func Probe(n Network) (*lightclient.Client, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	return n.client(&lightclient.MemStore{})
}

func (n Network) client(store lightclient.TrustStore) (*lightclient.Client, error) {
	c := lightclient.Config{Pin: n.Pin, Store: store}
	for _, url := range n.Sources {
		s, err := source.NewHTTP(url, nil)
		if err != nil {
			return nil, err
		}
		c.Sources = append(c.Sources, s)
	}
	return lightclient.New(c)
}

// Add writes a new network. One of the same name with the same pin gets the new
// sources; with another pin it is an error of kind Exists.
func (d Dir) Add(n Network) error {
	if err := n.check(); err != nil {
		return err
	}
	old, err := d.Load(n.Name)
	switch {
	case err == nil && old.Pin != n.Pin:
		return wire.Errorf(wire.Exists, "network %s is there already with another pin (%v); choose another name", n.Name, old.Pin)
	case err != nil && wire.CodeOf(err) != wire.NotFound:
		return err
	}
	var list strings.Builder
	for _, s := range n.Sources {
		fmt.Fprintf(&list, "  %q,\n", s)
	}
	text := fmt.Appendf(nil, template, n.Pin.String(), list.String())
	var f file
	if _, err := toml.Decode(string(text), &f); err != nil || f.Pin != n.Pin.String() || !slices.Equal(f.Sources, n.Sources) {
		return wire.Errorf(wire.Invalid, "network %s: its pin or a source has characters that its file cannot hold", n.Name)
	}
	return d.write(n.Name+suffix, text)
}

// Load reads a network. The error is of kind NotFound if there is none.
func (d Dir) Load(name string) (Network, error) {
	if err := CheckName(name); err != nil {
		return Network{}, err
	}
	path := filepath.Join(d.Path, name+suffix)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Network{}, wire.Errorf(wire.NotFound, "there is no network %q here; see confab net list", name)
	}
	if err != nil {
		return Network{}, fmt.Errorf("read network: %w", err)
	}
	if info.Size() > maxFile {
		return Network{}, wire.Errorf(wire.Invalid, "%s is too large for a network's file", path)
	}
	var f file
	meta, err := toml.DecodeFile(path, &f)
	if err != nil {
		return Network{}, wire.Errorf(wire.Invalid, "read %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Network{}, wire.Errorf(wire.Invalid, "read %s: the key %v is unknown", path, unknown[0])
	}
	pin, err := verify.ParsePin(f.Pin)
	if err != nil {
		return Network{}, fmt.Errorf("read %s: %w", path, err)
	}
	n := Network{Name: name, Pin: pin, Sources: f.Sources}
	return n, n.check()
}

// List returns all networks in the order of their names.
func (d Dir) List() ([]Network, error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	var out []Network
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || e.IsDir() || CheckName(name) != nil {
			continue
		}
		n, err := d.Load(name)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Use makes a network the one that Default returns.
func (d Dir) Use(name string) error {
	if _, err := d.Load(name); err != nil {
		return err
	}
	return d.write(chosen, []byte(name+"\n"))
}

// Default returns the network to use when none is named: the chosen one, or the
// only one.
func (d Dir) Default() (Network, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, chosen))
	if err == nil {
		return d.Load(strings.TrimSpace(string(b[:min(len(b), 2*maxNames)])))
	}
	list, err := d.List()
	switch {
	case err != nil:
		return Network{}, err
	case len(list) == 0:
		return Network{}, wire.Errorf(wire.NotFound, "no network is known here; add one with confab net add --source URL --pin PIN NAME")
	case len(list) > 1:
		return Network{}, wire.Errorf(wire.Invalid, "several networks are known here; choose one with --network NAME, or for good with confab net use NAME")
	}
	return list[0], nil
}

// write replaces a file of the folder in one step.
func (d Dir) write(name string, b []byte) error {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return fmt.Errorf("write network: %w", err)
	}
	return lightclient.WriteFile(filepath.Join(d.Path, name), b)
}
