package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	gossh "golang.org/x/crypto/ssh"
)

// Key is an ed25519 key for a host or a client.
type Key struct {
	gossh.Signer
	PEM []byte // the private key in OpenSSH's form
}

// NewKey makes a key.
func NewKey() (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, err
	}
	block, err := gossh.MarshalPrivateKey(private, "shiplift lab")
	if err != nil {
		return Key{}, err
	}
	signer, err := gossh.NewSignerFromKey(private)
	return Key{Signer: signer, PEM: pem.EncodeToMemory(block)}, err
}

// KeyFile reads the key of a file, or makes one and writes it there.
func KeyFile(path string) (Key, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k, err := NewKey()
		if err != nil {
			return Key{}, err
		}
		return k, os.WriteFile(path, k.PEM, 0o600)
	}
	if err != nil {
		return Key{}, err
	}
	signer, err := gossh.ParsePrivateKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return Key{Signer: signer, PEM: text}, nil
}
