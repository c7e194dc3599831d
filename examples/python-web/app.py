"""A page that greets, and the number of letters of a name as JSON."""

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def home():
    return "Hello from Flask\n"


@app.get("/names/<name>")
def letters(name):
    return jsonify(name=name, letters=len(name))
