package host

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/shiplift/shiplift/internal/say"
)

// keyDB is what is known about the keys of machines.
type keyDB struct {
	db    *knownhosts.HostKeyDB // nil: none of the files exists
	first string                // the file that a new key goes into
	at    string                // host:port as it is dialled, for ssh-keyscan
}

func (r route) keyDB() (*keyDB, error) {
	var files []string
	for _, f := range r.known {
		if exists(f) {
			files = append(files, f)
		}
	}
	k := &keyDB{first: r.known[0], at: r.addr()}
	if len(files) == 0 {
		return k, nil
	}
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, &say.Problem{
			Text: say.F("cannot read the known ssh host keys", "无法读取已知的 ssh 主机密钥"),
			Next: say.F("correct or remove the line that is named", "请修正或删除所指出的那一行"),
			Err:  fmt.Errorf("%w: %w", ErrHostKey, err),
		}
	}
	k.db = db
	return k, nil
}

func (k *keyDB) algorithms(name string) []string {
	if k.db == nil {
		return nil
	}
	return k.db.HostKeyAlgorithms(name)
}

// check lets only a known key through. There is no way to switch it off (I10).
func (k *keyDB) check(name string, remote net.Addr, key ssh.PublicKey) error {
	if k.db == nil {
		return k.unknown(key)
	}
	err := k.db.HostKeyCallback()(name, remote, key)
	if err == nil {
		return nil
	}
	var wrong *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return k.revoked(revoked, key)
	case errors.As(err, &wrong) && len(wrong.Want) > 0:
		return k.changed(name, wrong.Want[0], key)
	case errors.As(err, &wrong):
		return k.unknown(key)
	}
	return fmt.Errorf("%w: %w", ErrHostKey, err)
}

func (k *keyDB) unknown(key ssh.PublicKey) error {
	host, port, _ := net.SplitHostPort(k.at)
	return &say.Problem{
		Place: k.first,
		Text: say.F("the host key of %s is unknown (%s %s)", "%s 的主机密钥未知（%s %s）",
			k.at, key.Type(), ssh.FingerprintSHA256(key)),
		Next: say.F("compare the fingerprint with the machine's own, then: ssh-keyscan -p %s %s >> %s",
			"与主机上的指纹核对后执行：ssh-keyscan -p %s %s >> %s", port, host, quoteWord(k.first)),
		Err: ErrHostKey,
	}
}

func (k *keyDB) changed(name string, want xknownhosts.KnownKey, key ssh.PublicKey) error {
	return &say.Problem{
		Place: want.Filename + ":" + strconv.Itoa(want.Line),
		Text: say.F("the host key of %s has changed: %s is known, the machine shows %s %s", "%s 的主机密钥已改变：已知 %s，主机给出 %s %s",
			k.at, ssh.FingerprintSHA256(want.Key), key.Type(), ssh.FingerprintSHA256(key)),
		Next: say.F("find out why; if the machine was set up anew: ssh-keygen -R %s -f %s",
			"请先查明原因；若主机确已重装：ssh-keygen -R %s -f %s", quoteWord(knownhosts.Normalize(name)), quoteWord(want.Filename)),
		Err: ErrHostKey,
	}
}

func (k *keyDB) revoked(r *xknownhosts.RevokedError, key ssh.PublicKey) error {
	return &say.Problem{
		Place: r.Revoked.Filename + ":" + strconv.Itoa(r.Revoked.Line),
		Text: say.F("the host key of %s is revoked (%s)", "%s 的主机密钥已被吊销（%s）",
			k.at, ssh.FingerprintSHA256(key)),
		Next: say.F("do not connect; ask whoever revoked it", "请勿连接，并向吊销该密钥的人确认"),
		Err:  ErrHostKey,
	}
}
