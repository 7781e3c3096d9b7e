"use strict";
// The data, and how everything is drawn. What models wrote goes through text nodes: it is shown, never parsed.

const data = JSON.parse(document.getElementById("data").textContent);
const DIMENSIONS = ["alignment", "engagement"];
const MOMENTS = ["before", "after"];
const LOWEST = 1, HIGHEST = 7, NEUTRAL = 4;

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function colour(rating) {
  if (rating === null) return "transparent";
  const share = Math.min(1, Math.abs(rating - NEUTRAL) / (HIGHEST - NEUTRAL)) * 100;
  return `color-mix(in oklab, var(--mid), var(${rating < NEUTRAL ? "--low" : "--high"}) ${share}%)`;
}

const told = (rating, digits = 1) => (rating === null ? "–" : rating.toFixed(digits));

// --- what is asked of the columns: `k` is the place of a round, `place` that of an interaction in it

const placesOf = data.rounds.map((round) => new Map(round.agents.map((agent, place) => [agent, place])));

const placeOf = (k, agent) => placesOf[k]?.get(agent);
const questionAt = (k, place) => data.questions[data.rounds[k].questions[place]];
const stanceAt = (k, place) => data.stances[data.rounds[k].stances[place]];
const ratingAt = (k, place, moment = state.moment, dimension = state.dimension) =>
  place === undefined ? null : data.rounds[k].ratings[moment][state.observer][dimension][place];
