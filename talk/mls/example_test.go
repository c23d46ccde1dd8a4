package mls_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"

	"github.com/confab-chat/confab/talk/mls"
)

// Alice starts a group, adds Bob and writes to him.
func Example() {
	// What a credential means is for the application: here, anybody is welcome.
	policy := mls.Policy{Check: func(mls.Candidate) error { return nil }, KeepEpochs: 3}
	client := func(name string) (ed25519.PrivateKey, mls.LeafTemplate) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		return key, mls.LeafTemplate{Credential: mls.BasicCredential([]byte(name))}
	}
	aliceKey, aliceLeaf := client("alice")
	bobKey, bobLeaf := client("bob")

	// Bob publishes a key package and keeps its secrets.
	offer, secrets, err := mls.NewKeyPackage(rand.Reader, mls.X25519AES128, bobKey, bobLeaf, mls.Lifetime{NotAfter: 1 << 40})
	must(err)

	// Alice adds him. Her group moves once the commit is merged.
	alice, err := mls.Create(rand.Reader, mls.X25519AES128, []byte("room"), aliceKey, aliceLeaf, nil, policy)
	must(err)
	commit, err := alice.Commit(rand.Reader, mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(offer)}})
	must(err)
	must(alice.Merge(commit.Staged))

	// Bob joins.
	m, err := mls.ParseMessage(commit.Welcome)
	must(err)
	bob, _, err := mls.Join(m.Welcome, offer, secrets, mls.JoinOptions{Signer: bobKey, Policy: policy})
	must(err)
	fmt.Println("same epoch:", bytes.Equal(alice.EpochAuthenticator(), bob.EpochAuthenticator()))

	// Alice writes. Each side stores what changed before it goes on.
	sealed, err := alice.Encrypt(rand.Reader, []byte("hello"), mls.Framing{AAD: []byte("1")})
	must(err)
	store(alice.TakeDelta())
	m, err = mls.ParseMessage(sealed)
	must(err)
	got, err := bob.Receive(m, nil)
	must(err)
	store(bob.TakeDelta())
	fmt.Printf("%s: %s\n", got.Leaf.Credential.Identity, got.Data)

	// Bob renews his keys; Alice looks at the commit, then merges it.
	update, err := bob.Commit(rand.Reader, mls.CommitOptions{Path: true})
	must(err)
	must(bob.Merge(update.Staged))
	m, err = mls.ParseMessage(update.Message)
	must(err)
	got, err = alice.Receive(m, nil)
	must(err)
	fmt.Println("updated:", len(got.Commit.Updated()), "added:", len(got.Commit.Added()))
	must(alice.Merge(got.Commit))
	fmt.Println("epoch:", alice.Epoch(), bob.Epoch())

	// Output:
	// same epoch: true
	// alice: hello
	// updated: 1 added: 0
	// epoch: 2 2
}

// A recorded run of another implementation is played by a passive client.
func ExampleScenario() {
	data, err := os.ReadFile("testdata/scenario.json")
	must(err)
	scenarios, err := mls.ParseScenarios(data)
	must(err)
	for _, s := range scenarios {
		group, err := s.Join() // compares the first epoch authenticator
		must(err)
		for _, e := range s.Epochs {
			must(s.Step(group, e)) // and each of the following
		}
		fmt.Println(s.CipherSuite, "at epoch", group.Epoch(), "with", len(group.Members()), "members")
	}

	// Output:
	// X25519-AES128GCM-SHA256-Ed25519 at epoch 4 with 8 members
}

func store(mls.Delta) {} // one atomic write

func must(err error) {
	if err != nil {
		panic(err)
	}
}
