# Asks this server for a path by host name, as somebody outside would: [host, path, header, value] on standard input; answers
# [status, value of the header in the answer].
import http.client, json, socket, ssl, sys

host, path, header, value = json.load(sys.stdin)
site = http.client.HTTPSConnection(host, timeout=10, context=ssl._create_unverified_context())
site._create_connection = lambda *_: socket.create_connection(("127.0.0.1", 443), 10)
site.request("GET", path, headers={header: value})
answer = site.getresponse()
json.dump([answer.status, answer.headers.get(header)], sys.stdout)
