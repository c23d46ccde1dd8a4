package mls_test

import (
	"fmt"

	"github.com/confab-chat/confab/talk/mls"
)

// client is one device that runs one implementation.
type client interface {
	// kind names the implementation.
	kind() string
	// offer makes a key package: an MLSMessage.
	offer() ([]byte, error)
	// create starts a group of one.
	create(groupID []byte) (member, error)
	// join enters with a Welcome for one of the offers.
	join(welcome []byte) (member, error)
	// joinExternal enters by external commit, in place of a former leaf if given.
	joinExternal(groupInfo []byte, former *uint32) (m member, commit []byte, err error)
	// learn makes an external pre-shared key known.
	learn(id, psk []byte) error
}

// member is a client in a group. Messages are MLSMessages. Commits are put in
// force when they are made or received.
type member interface {
	state() (view, error)
	propose(p proposal, open bool) ([]byte, error)
	commit(list []proposal, open bool) (commit, welcome []byte, err error)
	encrypt(data []byte) ([]byte, error)
	receive(message []byte) (data []byte, err error)
	groupInfo() ([]byte, error)
}

// view is what members of one epoch must agree on, but for leaf.
type view struct {
	epoch         uint64
	authenticator string
	exported      string
	members       string // leaf and identity of each
	leaf          uint32
}

// same compares all that is common.
func (v view) same(w view) error {
	v.leaf = w.leaf
	if v != w {
		return fmt.Errorf("views differ:\n%+v\n%+v", v, w)
	}
	return nil
}

// proposalKind is what a proposal does. The names are those of node/driver.mjs.
type proposalKind string

const (
	proposeAdd        proposalKind = "add"
	proposeRemove     proposalKind = "remove"
	proposeUpdate     proposalKind = "update"
	proposePSK        proposalKind = "psk"
	proposeExtensions proposalKind = "extensions"
)

type proposal struct {
	kind       proposalKind
	keyPackage []byte
	leaf       uint32
	pskID      []byte
	extensions []mls.Extension
}

// The label, context and length of the secret that all members export.
const exportLabel, exportContext, exportLength = "oracle", "context", 48
