# Asks the API of Docker what comes on standard input: a list of [method, path, body, seconds]; answers a list of [status, text].
import http.client, json, socket, sys


class Docker(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect("/run/docker.sock")


answers = []
for method, path, body, seconds in json.load(sys.stdin):
    docker = Docker("docker", timeout=seconds)
    docker.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    answer = docker.getresponse()
    answers.append([answer.status, answer.read().decode("utf-8", "replace")])
    docker.close()
json.dump(answers, sys.stdout)
